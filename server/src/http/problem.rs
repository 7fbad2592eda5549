//! The one shape of every error a client sees: RFC 9457 problem details. Bodies say what the client can act on;
//! causes go to the log.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use fleetwright_protocol::Violation;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::{idempotency, request_id};
use crate::db::DbError;

pub const MEDIA_TYPE: &str = "application/problem+json";

/// An error response.
#[derive(Clone, Debug)]
pub struct Problem {
    parts: Box<Parts>,
}

#[derive(Clone, Debug)]
struct Parts {
    status: StatusCode,
    code: Cow<'static, str>,
    detail: String,
    errors: Vec<Violation>,
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
                extensions: Map::new(),
                headers: Vec::new(),
            }),
        }
    }

    #[must_use]
    pub fn with_errors(mut self, errors: Vec<Violation>) -> Self {
        self.parts.errors = errors;
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

    /// A further member of the body. Members of every problem cannot be replaced.
    #[must_use]
    pub fn with_extension(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.parts.extensions.insert(key.to_owned(), value.into());
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

    /// 422: parsed, but invalid. The problem's code is that of the first violation.
    pub fn invalid(errors: Vec<Violation>) -> Self {
        let (code, detail) = match errors.as_slice() {
            [] => (
                Cow::Borrowed("invalid-field"),
                "The request is not valid.".to_owned(),
            ),
            [only] => (Cow::Owned(only.code.clone()), only.detail.clone()),
            [first, ..] => (
                Cow::Owned(first.code.clone()),
                format!("{} (and {} more)", first.detail, errors.len() - 1),
            ),
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail).with_errors(errors)
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

    /// The body, as it is sent.
    pub fn body(&self) -> Value {
        let parts = &self.parts;
        let mut body = parts.extensions.clone();
        body.insert("type".into(), format!("/problems/{}", parts.code).into());
        body.insert("title".into(), title(&parts.code, parts.status).into());
        body.insert("status".into(), parts.status.as_u16().into());
        body.insert("detail".into(), parts.detail.clone().into());
        body.insert("code".into(), parts.code.as_ref().into());
        if let Some(id) = request_id::current() {
            body.insert("instance".into(), id.into());
        }
        if !parts.errors.is_empty() {
            body.insert("errors".into(), json!(parts.errors));
        }
        Value::Object(body)
    }
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

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        match &error {
            DbError::Unavailable(reason) => {
                tracing::warn!(%reason, request_id = request_id::current(), "the database is not available");
                Self::unavailable()
            }
            DbError::Unique(what) if what == idempotency::KEY_TAKEN => idempotency::in_progress(),
            DbError::Unique(_)
            | DbError::Constraint(_)
            | DbError::Row(_)
            | DbError::Statement(_)
            | DbError::Unfit(_) => Self::internal(&error),
        }
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
    fn a_database_that_is_down_is_a_503_that_says_when_to_try_again() {
        let problem = Problem::from(DbError::Unavailable("disk full".into()));
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "1");
    }

    #[test]
    fn a_database_defect_tells_the_client_nothing_of_it() {
        let problem = Problem::from(DbError::Statement("near \"SELCT\"".into()));
        assert!(!problem.body().to_string().contains("SELCT"));
    }
}
