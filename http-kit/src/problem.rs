//! The one shape of every error a client sees: RFC 9457 problem details. Bodies say what the client can act on;
//! causes go to the log.

mod size;

use std::borrow::Cow;
use std::fmt;

use axum::response::{IntoResponse, Response};
use fleetwright_protocol::Violation;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

use crate::request_id;

pub const MEDIA_TYPE: &str = "application/problem+json";

/// Errors listed in one problem; a body of 1 MiB can hold a hundred thousand. How many more there are is said.
pub const ERRORS_MAX: usize = 100;
/// Bytes of a body, whatever is wrong: an answer to nonsense is smaller than what nonsense there can be.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Where a customer gets a feature that is not there.
const UPGRADE_URL: &str = "https://fleetwright.example/upgrade";
/// What the kit writes itself: no further member may have such a name.
const STANDARD_MEMBERS: [&str; 8] = [
    "type",
    "title",
    "status",
    "detail",
    "instance",
    "code",
    "errors",
    "errors_omitted",
];

/// An error response. `code` is a stable slug that clients branch on; `detail` is for people and never tells
/// internals.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    parts: Box<Parts>,
}

#[derive(Clone, Debug, PartialEq)]
struct Parts {
    status: StatusCode,
    code: Cow<'static, str>,
    detail: String,
    errors: Vec<Violation>,
    errors_omitted: usize,
    extensions: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// `code` is the stable slug that clients branch on.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            parts: Box::new(Parts {
                status,
                code: code.into(),
                detail: detail.into(),
                errors: Vec::new(),
                errors_omitted: 0,
                extensions: Map::new(),
                headers: Vec::new(),
            }),
        }
    }

    /// Everything that is wrong with the input, with JSON pointers into it. The first [`ERRORS_MAX`] are listed.
    #[must_use]
    pub fn with_errors(mut self, mut errors: Vec<Violation>) -> Self {
        self.parts.errors_omitted = errors.len().saturating_sub(ERRORS_MAX);
        errors.truncate(ERRORS_MAX);
        self.parts.errors = errors;
        self
    }

    /// How many errors there are beside the listed ones, where whoever found them kept no more.
    #[must_use]
    pub fn with_errors_omitted(mut self, more: usize) -> Self {
        self.parts.errors_omitted += more;
        self
    }

    #[must_use]
    pub fn with_retry_after(self, seconds: u64) -> Self {
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.parts.headers.push((name, value));
        self
    }

    /// A further member of the body. One of a standard name is left out: such a member cannot be replaced.
    #[must_use]
    pub fn with_extension(mut self, name: &str, value: impl Into<Value>) -> Self {
        if !STANDARD_MEMBERS.contains(&name) {
            self.parts.extensions.insert(name.to_owned(), value.into());
        }
        self
    }

    /// The errors' pointers, seen from a document that holds this one at `prefix`.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        let errors = std::mem::take(&mut self.parts.errors).into_iter();
        self.parts.errors = errors.map(|error| error.under(prefix)).collect();
        self
    }

    /// 400: cannot be parsed.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// 401. Says nothing about which part of the credentials is wrong.
    pub fn unauthenticated() -> Self {
        let detail = "A valid bearer token is required.";
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail).with_header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"fleetwright\""),
        )
    }

    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404. `what` is a noun: `host`, `command`.
    pub fn not_found(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            format!("There is no such {what}."),
        )
    }

    /// 409: the state forbids it.
    pub fn invalid_transition(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "invalid-transition", detail)
    }

    /// 409 with another code.
    pub fn conflict(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 412: the resource is no longer what the client saw.
    pub fn precondition_failed() -> Self {
        let detail = "The resource has changed since it was read; read it again.";
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "precondition-failed",
            detail,
        )
    }

    /// 402: the feature is not licensed, or its module is not there. `reason` says which.
    pub fn feature_not_available(feature: &str, module: &str, reason: &str) -> Self {
        let because = reason.replace('_', " ");
        let detail = format!("This needs the feature {feature} of the module {module}: {because}.");
        Self::new(
            StatusCode::PAYMENT_REQUIRED,
            "feature-not-available",
            detail,
        )
        .with_extension("feature", feature)
        .with_extension("module", module)
        .with_extension("reason", reason)
        .with_extension("upgrade_url", UPGRADE_URL)
    }

    /// 405. `allowed` are the route's methods.
    pub fn method_not_allowed(allowed: &str) -> Self {
        let detail = "This route does not have that method.";
        let problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail);
        match HeaderValue::try_from(allowed) {
            Ok(allowed) if !allowed.is_empty() => problem.with_header(header::ALLOW, allowed),
            Ok(_) | Err(_) => problem,
        }
    }

    /// 413.
    pub fn too_large() -> Self {
        let detail = "The body is larger than this route accepts.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
    }

    /// 415.
    pub fn media_type() -> Self {
        let detail = "The body must be application/json in UTF-8, not compressed.";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", detail)
    }

    /// 422 that no single field causes.
    pub fn unprocessable(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// 422: parsed, but invalid. The problem's code is that of the first violation, so that a client may branch on the
    /// commonest case without looking at the list.
    pub fn invalid(errors: Vec<Violation>) -> Self {
        Self::invalid_with_more(errors, 0)
    }

    /// As [`Problem::invalid`], where `more` were found than were kept.
    pub fn invalid_with_more(errors: Vec<Violation>, more: usize) -> Self {
        let Some(first) = errors.first() else {
            return Self::unprocessable("invalid-field", "The request is not valid.");
        };
        let code = first.code.clone();
        let mut detail = if first.pointer.is_empty() {
            first.detail.clone()
        } else {
            format!("{}: {}", first.pointer, first.detail)
        };
        let others = errors.len() - 1 + more;
        if others > 0 {
            detail.push_str(&format!(" (and {others} more)"));
        }
        Self::unprocessable(code, detail)
            .with_errors(errors)
            .with_errors_omitted(more)
    }

    /// A 422 with what somebody else found wrong, behind its own errors.
    #[must_use]
    pub fn and_invalid(self, found: Vec<Violation>) -> Self {
        let more = self.parts.errors_omitted;
        let mut errors = self.parts.errors;
        errors.extend(found);
        Self::invalid_with_more(errors, more)
    }

    /// 422 for one field.
    pub fn invalid_field(pointer: &str, code: &str, detail: impl Into<String>) -> Self {
        Self::invalid(vec![Violation::new(pointer, code, detail)])
    }

    /// 503: something the server depends on is down.
    pub fn unavailable() -> Self {
        let detail = "The server cannot reach something it depends on. Try again.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).with_retry_after(1)
    }

    /// 500: a defect. Logs the whole chain once; the body says nothing of it.
    pub fn internal(error: &dyn std::error::Error) -> Self {
        let mut causes = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        tracing::error!(%error, ?causes, request_id = request_id::current(), "a request failed");
        Self::internal_silent()
    }

    /// 500 whose cause has already been logged.
    pub fn internal_silent() -> Self {
        let detail = "The server failed to answer. The log has the request id.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    pub fn status(&self) -> StatusCode {
        self.parts.status
    }

    pub fn code(&self) -> &str {
        &self.parts.code
    }

    pub fn detail(&self) -> &str {
        &self.parts.detail
    }

    pub fn errors(&self) -> &[Violation] {
        &self.parts.errors
    }

    /// How many errors there are beside [`Problem::errors`].
    pub fn errors_omitted(&self) -> usize {
        self.parts.errors_omitted
    }

    /// The errors themselves, for a problem that has more.
    pub fn into_errors(self) -> Vec<Violation> {
        self.parts.errors
    }

    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.parts.headers
    }

    /// The body, as it is sent: at most [`BODY_BYTES_MAX`], where texts are cut and errors only counted if need be.
    /// `instance` is the request being served.
    pub fn body(&self) -> Value {
        let parts = &self.parts;
        let mut body = size::bounded(&parts.extensions);
        body.insert("type".into(), format!("/problems/{}", parts.code).into());
        body.insert("title".into(), title(&parts.code, parts.status).into());
        body.insert("status".into(), parts.status.as_u16().into());
        body.insert("detail".into(), size::detail(&parts.detail).into());
        body.insert("code".into(), parts.code.as_ref().into());
        if let Some(id) = request_id::current() {
            body.insert("instance".into(), id.into());
        }
        let errors = size::listed(&parts.errors);
        let omitted = parts.errors_omitted + parts.errors.len() - errors.len();
        if !errors.is_empty() {
            body.insert("errors".into(), errors.into());
        }
        if omitted > 0 {
            body.insert("errors_omitted".into(), omitted.into());
        }
        Value::Object(body)
    }

    /// Reads a body back. What is none becomes a plain 500.
    pub fn from_body(body: &Value) -> Self {
        let text = |name: &str| {
            let text = body.get(name).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let status = body
            .get("status")
            .and_then(Value::as_u64)
            .and_then(|status| u16::try_from(status).ok())
            .and_then(|status| StatusCode::from_u16(status).ok());
        let Some(status) = status.filter(|status| is_error(*status)) else {
            return Self::internal_silent();
        };
        let mut problem = Self::new(status, text("code"), text("detail"));
        for (name, value) in body.as_object().into_iter().flatten() {
            problem = problem.with_extension(name, value.clone());
        }
        let errors = body.get("errors").cloned().unwrap_or_default();
        let omitted = body.get("errors_omitted").and_then(Value::as_u64);
        problem
            .with_errors(serde_json::from_value(errors).unwrap_or_default())
            .with_errors_omitted(omitted.and_then(|more| more.try_into().ok()).unwrap_or(0))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts {
            status,
            code,
            detail,
            ..
        } = &*self.parts;
        write!(formatter, "{} {code}: {detail}", status.as_u16())
    }
}

impl std::error::Error for Problem {}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(axum::body::Body::from(self.body().to_string()));
        *response.status_mut() = self.parts.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        for (name, value) in &self.parts.headers {
            headers.insert(name, value.clone());
        }
        response
    }
}

/// A short sentence that is the same for every problem with this code.
fn title(code: &str, status: StatusCode) -> String {
    let mut words = code.replace('-', " ");
    if let Some(first) = words.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    if words.is_empty() {
        status.canonical_reason().unwrap_or("Error").to_owned()
    } else {
        words
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn body_has_every_member_of_a_problem() {
        let body = Problem::not_found("host").body();
        assert_eq!(body["type"], "/problems/not-found");
        assert_eq!(body["title"], "Not found");
        assert_eq!(body["status"], 404);
        assert_eq!(body["code"], "not-found");
        assert_eq!(body["detail"], "There is no such host.");
        assert!(body.get("errors").is_none());
    }

    #[tokio::test]
    async fn instance_is_the_id_of_the_request_being_served() {
        let body =
            request_id::within("r-1".to_owned(), async { Problem::unavailable().body() }).await;
        assert_eq!(body["instance"], "r-1");
    }

    #[test]
    fn an_extension_cannot_replace_a_standard_member() {
        let body = Problem::malformed("x")
            .with_extension("status", 200)
            .with_extension("feature", "fleet_groups")
            .body();
        assert_eq!(body["status"], 400);
        assert_eq!(body["feature"], "fleet_groups");
    }

    #[test]
    fn every_violation_is_listed_and_the_first_names_the_problem() {
        let found = vec![
            Violation::new("/a", "unknown-field", "No such field `a`."),
            Violation::new("/b", "unknown-field", "No such field `b`."),
        ];
        let problem = Problem::invalid(found);
        assert_eq!(problem.code(), "unknown-field");
        assert_eq!(problem.body()["errors"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn errors_are_listed_up_to_a_hundred_and_the_rest_is_counted() {
        let found = (0..250).map(|index| Violation::new(format!("/{index}"), "c", "d"));
        let body = Problem::invalid(found.collect()).body();
        assert_eq!(body["errors"].as_array().map(Vec::len), Some(ERRORS_MAX));
        assert_eq!(body["errors_omitted"], 150);
        assert_eq!(body["detail"], "/0: d (and 249 more)");
        assert_eq!(Problem::from_body(&body).body(), body);
    }

    #[test]
    fn a_body_is_never_large_whatever_is_told_in_it() {
        let long = "\u{1}\"\\x\u{1f980}".repeat(200_000);
        let found = |text: &str| -> Vec<Violation> {
            let violations = (0..100).map(|_| Violation::new(format!("/{text}"), "c", text));
            violations.collect()
        };
        let problems = [
            Problem::malformed(long.clone()),
            Problem::invalid(found(&long)),
            Problem::invalid(found(&"~".repeat(1_000))),
            Problem::invalid(found(&long)).and_invalid(found(&long)),
            Problem::invalid(found(&long)).under(&long),
            Problem::conflict("c", "d")
                .with_extension("hosts", vec![long.clone(); 3])
                .with_extension(&long, 1)
                .with_extension("kept", "x"),
        ];
        for problem in problems {
            let body = problem.body();
            let bytes = body.to_string().len();
            assert!(
                bytes <= BODY_BYTES_MAX,
                "{bytes} bytes of {}",
                problem.code()
            );
            let listed = body["errors"].as_array().map_or(0, Vec::len);
            let omitted = body["errors_omitted"].as_u64().unwrap_or(0);
            let all = problem.errors().len() + problem.errors_omitted();
            assert_eq!(listed as u64 + omitted, all as u64, "all are counted");
            assert!(all == 0 || listed > 0);
            if all == 0 && problem.code() == "c" {
                assert_eq!((&body["kept"], &body["hosts"]), (&json!("x"), &Value::Null));
            }
        }
        let whole = "what is short is told whole ".repeat(50);
        assert_eq!(Problem::malformed(whole.clone()).body()["detail"], whole);
    }

    #[test]
    fn a_body_is_read_back_and_nonsense_is_a_plain_500() {
        let problem = Problem::conflict("group-in-use", "Two schedules name it.")
            .with_errors(vec![Violation::new("/a", "b", "c")])
            .with_extension("groups", json!(["x"]));
        assert_eq!(Problem::from_body(&problem.body()), problem);
        for nonsense in [
            json!(null),
            json!({"status": 200}),
            json!({"status": "409"}),
        ] {
            assert_eq!(Problem::from_body(&nonsense).status(), 500, "{nonsense}");
        }
    }

    #[test]
    fn a_402_says_what_is_missing_and_where_to_get_it() {
        let body = Problem::feature_not_available("fleet_groups", "groups", "not_licensed").body();
        for name in ["feature", "module", "reason", "upgrade_url"] {
            assert!(body[name].is_string(), "{name}");
        }
    }
}
