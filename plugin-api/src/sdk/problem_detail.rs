//! How a problem crosses the boundary: as the detail of an error, its headers beside the members of its body.

use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::Problem;

/// Beside the members of the body: a problem that crosses the boundary keeps its headers.
const HEADERS: &str = "headers";

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
