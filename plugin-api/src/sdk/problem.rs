//! An error answer to a client, as `application/problem+json`. The adapter adds the request id (`instance`).

use axum::response::{IntoResponse, Response};
use fleetwright_protocol::Violation;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::{CallError, ServerError};

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What went wrong, for a client. `code` is a stable slug that clients branch on; `detail` is for people and never tells
/// internals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Problem {
    pub status: u16,
    pub code: String,
    pub detail: String,
    /// Everything that is wrong with the input, with JSON pointers into the body.
    pub errors: Vec<Violation>,
    pub headers: Vec<(String, String)>,
    /// Further members of the body, such as `feature` and `reason` of a 402.
    pub members: Box<Map<String, Value>>,
}

impl Problem {
    pub fn new(status: u16, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            detail: detail.into(),
            ..Self::default()
        }
    }

    /// 400: not parseable.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(400, "malformed", detail)
    }

    /// 404: not there, or not yours.
    pub fn not_found() -> Self {
        Self::new(404, "not-found", "There is no such resource.")
    }

    /// 409: conflicts with the state.
    pub fn conflict(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(409, code, detail)
    }

    /// 412: a lost race on `If-Match`.
    pub fn precondition_failed() -> Self {
        Self::new(
            412,
            "precondition-failed",
            "The resource has changed since the revision in If-Match.",
        )
    }

    /// 422: parsed but invalid.
    pub fn invalid(code: impl Into<String>, errors: Vec<Violation>) -> Self {
        let detail = errors
            .first()
            .map(|first| first.detail.clone())
            .unwrap_or_default();
        Self::new(422, code, detail).with_errors(errors)
    }

    /// 500. The cause belongs in the log, not here.
    pub fn internal() -> Self {
        Self::new(
            500,
            "internal",
            "The request could not be handled. The log has the reason under this request id.",
        )
    }

    /// 503 with `Retry-After`.
    pub fn unavailable() -> Self {
        Self::new(
            503,
            "unavailable",
            "A dependency is down; try again shortly.",
        )
        .with_header("retry-after", "2")
    }

    #[must_use]
    pub fn with_errors(mut self, errors: Vec<Violation>) -> Self {
        self.errors = errors;
        self
    }

    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn with_member(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.members.insert(name.into(), value.into());
        self
    }

    /// The errors' pointers, seen from a document that holds this one at `prefix`.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        self.errors = self
            .errors
            .into_iter()
            .map(|error| error.under(prefix))
            .collect();
        self
    }

    /// The status' own words: the type says the rest.
    pub fn title(&self) -> &'static str {
        let status = StatusCode::from_u16(self.status).ok();
        status
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Error")
    }

    /// The body. An empty `request_id` leaves `instance` out.
    pub fn to_json(&self, request_id: &str) -> Value {
        let mut body = Map::new();
        body.insert("type".to_owned(), json!(format!("/problems/{}", self.code)));
        body.insert("title".to_owned(), json!(self.title()));
        body.insert("status".to_owned(), json!(self.status));
        body.insert("code".to_owned(), json!(self.code));
        body.insert("detail".to_owned(), json!(self.detail));
        if !request_id.is_empty() {
            body.insert("instance".to_owned(), json!(request_id));
        }
        if !self.errors.is_empty() {
            body.insert("errors".to_owned(), json!(self.errors));
        }
        body.extend((*self.members).clone());
        Value::Object(body)
    }

    /// From a problem's body; what is missing becomes a plain 500.
    pub fn from_json(body: &Value) -> Self {
        let text = |name: &str| {
            body.get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let status = body
            .get("status")
            .and_then(Value::as_u64)
            .and_then(|status| u16::try_from(status).ok());
        let mut members = body.as_object().cloned().unwrap_or_default();
        for known in [
            "type", "title", "status", "code", "detail", "instance", "errors",
        ] {
            members.remove(known);
        }
        let Some(status) = status.filter(|status| (400..600).contains(status)) else {
            return Self::internal();
        };
        Self {
            status,
            code: text("code"),
            detail: text("detail"),
            errors: body
                .get("errors")
                .and_then(|errors| serde_json::from_value(errors.clone()).ok())
                .unwrap_or_default(),
            headers: Vec::new(),
            members: Box::new(members),
        }
    }

    /// The whole response, with the request id.
    pub fn respond(&self, request_id: &str) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), value.parse()) {
                headers.insert(name, value);
            }
        }
        (status, headers, self.to_json(request_id).to_string()).into_response()
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}: {}", self.status, self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

/// The problem rides along in the response's extensions, so that the adapter can add the request id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.respond("");
        response.extensions_mut().insert(self);
        response
    }
}

/// What a client is told when a host service fails: 503 where trying again helps, else 500 with the reason logged.
impl From<ServerError> for Problem {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Unavailable(_) | ServerError::ShuttingDown => {
                tracing::warn!(%error, "a host service is unavailable");
                Self::unavailable()
            }
            ServerError::Refused(problem) => *problem,
            ServerError::Guard { .. }
            | ServerError::Constraint { .. }
            | ServerError::TooLarge(_)
            | ServerError::Forbidden(_)
            | ServerError::NotFound(_)
            | ServerError::Invalid(_)
            | ServerError::Internal(_) => {
                tracing::error!(%error, "a host service failed");
                Self::internal()
            }
        }
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Problem(problem) => problem,
            CallError::Server(error) => error.into(),
            CallError::Unavailable {
                feature,
                module,
                reason,
            } => Self::new(
                402,
                "feature-not-available",
                format!("This needs the feature {feature}."),
            )
            .with_member("feature", feature)
            .with_member("module", module)
            .with_member("reason", reason),
        }
    }
}
