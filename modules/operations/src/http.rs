//! What the routes of operations have in common: bodies that may be left out, entity tags, problems. Not the routes.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest as _, Request};
use axum::http::{HeaderMap, HeaderValue, header};
use fleetwright_plugin_api::sdk::{JsonBody, Problem};
use fleetwright_protocol::Violation;
use serde_json::{Map, Value};

use crate::selection::SelectionError;

/// The revisions a client would accept, from `If-Match`; none if it does not care.
pub type SeenRevisions = Option<Vec<i64>>;

/// A JSON body that may be left out; an absent one is an empty object.
pub async fn optional_body(request: Request) -> Result<Value, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = Bytes::from_request(Request::from_parts(parts.clone(), body), &()).await;
    let bytes = bytes.map_err(|_| Problem::malformed("The body could not be read."))?;
    if bytes.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let whole = Request::from_parts(parts, Body::from(bytes));
    let JsonBody(value) = JsonBody::from_request(whole, &()).await?;
    Ok(value)
}

/// A revision as an entity tag.
pub fn revision_tag(revision: i64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{revision}\""))
        .unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// The revisions in `If-Match`; none without it or with `*`. A tag that was never ours matches nothing.
pub fn seen_revisions(headers: &HeaderMap) -> SeenRevisions {
    if !headers.contains_key(header::IF_MATCH) {
        return None;
    }
    let mut revisions = Vec::new();
    for value in headers.get_all(header::IF_MATCH) {
        for tag in value.to_str().unwrap_or_default().split(',').map(str::trim) {
            if tag == "*" {
                return None;
            }
            let quoted = tag
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'));
            revisions.extend(quoted.and_then(|number| number.parse::<i64>().ok()));
        }
    }
    Some(revisions)
}

/// Why nothing usable was selected.
pub fn selection_problem(error: SelectionError) -> Problem {
    match error {
        SelectionError::SelectionEmpty => {
            Problem::new(422, "selection-empty", "No host is selected.")
        }
        SelectionError::SelectionTooLarge(count) => Problem::new(
            422,
            "selection-too-large",
            format!("{count} hosts are selected; one operation holds at most 100,000."),
        ),
        SelectionError::SelectionChanged { digest, count } => Problem::new(
            409,
            "selection-changed",
            format!("The selection is now {count} hosts with digest {digest}."),
        ),
        SelectionError::Call(error) => Problem::from(error),
    }
}

/// A body that was understood and is wrong. The problem's code is the first violation's, so that a client may branch
/// on the commonest case without looking at the list.
pub fn invalid(found: Vec<Violation>) -> Problem {
    let code = found
        .first()
        .map_or_else(|| "invalid".to_owned(), |first| first.code.clone());
    let detail = match found.as_slice() {
        [only] => format!("{}: {}", only.pointer, only.detail),
        several => format!("{} fields are invalid.", several.len()),
    };
    Problem::new(422, code, detail).with_errors(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> SeenRevisions {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, HeaderValue::from_str(text).unwrap());
        seen_revisions(&headers)
    }

    #[test]
    fn entity_tags_are_read_and_foreign_ones_match_nothing() {
        assert_eq!(seen_revisions(&HeaderMap::new()), None);
        assert_eq!(seen("*"), None);
        assert_eq!(seen("\"7\""), Some(vec![7]));
        assert_eq!(seen("\"6\", \"7\""), Some(vec![6, 7]));
        for foreign in ["7", "\"x\"", "W/\"7\"", "\"", ""] {
            assert_eq!(seen(foreign), Some(vec![]), "{foreign}");
        }
    }
}
