//! What a client is told when a host service or another module refuses or fails, and how a problem crosses the boundary.

use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::{CallError, Problem, RowError, ServerError};

/// Beside the members of the body: a problem that crosses the boundary keeps its headers.
const HEADERS: &str = "headers";

/// 503 where trying again helps, else 500 with the reason logged.
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
                Self::internal_silent()
            }
        }
    }
}

/// A row that is not what its reader takes it for is a defect like any other of the module: 500, and the log has it.
impl From<RowError> for Problem {
    fn from(error: RowError) -> Self {
        ServerError::from(error).into()
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
            } => Self::feature_not_available(&feature, &module, &reason),
        }
    }
}

/// A problem as the detail of an error of the boundary.
pub(super) fn to_detail(problem: &Problem) -> Value {
    let headers: Vec<(&str, &str)> = problem
        .headers()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    let mut detail = problem.body();
    detail[HEADERS] = json!(headers);
    detail
}

pub(super) fn from_detail(mut detail: Value) -> Problem {
    let headers = detail
        .as_object_mut()
        .and_then(|members| members.remove(HEADERS));
    let headers: Vec<(String, String)> = headers
        .and_then(|headers| serde_json::from_value(headers).ok())
        .unwrap_or_default();
    let readable = headers.into_iter().filter_map(|(name, value)| {
        let name = HeaderName::try_from(name).ok()?;
        Some((name, HeaderValue::try_from(value).ok()?))
    });
    readable.fold(Problem::from_body(&detail), |problem, (name, value)| {
        problem.with_header(name, value)
    })
}
