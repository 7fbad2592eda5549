//! What the routes of operations have in common: bodies that may be left out, problems. Not the routes.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest as _, Request};
use fleetwright_plugin_api::sdk::{JsonBody, Problem};
use serde_json::{Map, Value};

use crate::selection::SelectionError;

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

/// Why nothing usable was selected.
pub fn selection_problem(error: SelectionError) -> Problem {
    match error {
        SelectionError::SelectionEmpty => {
            Problem::unprocessable("selection-empty", "No host is selected.")
        }
        SelectionError::SelectionTooLarge(count) => Problem::unprocessable(
            "selection-too-large",
            format!("{count} hosts are selected; one operation holds at most 100,000."),
        ),
        SelectionError::SelectionChanged { digest, count } => Problem::conflict(
            "selection-changed",
            format!("The selection is now {count} hosts with digest {digest}."),
        ),
        SelectionError::Call(error) => Problem::from(error),
    }
}
