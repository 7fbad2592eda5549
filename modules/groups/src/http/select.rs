//! `POST /fleet/select`: a read that needs a body.

use axum::Json;
use axum::extract::State;
use fleetwright_plugin_api::sdk::{JsonBody, Problem, StrictQuery, from_input};
use serde_json::Value;
use utoipa::IntoParams;

use crate::actions::select;
use crate::engine::Engine;
use crate::http::problem::of;
use crate::view::{self, SelectionView};

#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SelectParams {
    /// Adds how many hosts matched each criterion.
    explain: Option<bool>,
    /// Leaves the ids out.
    count_only: Option<bool>,
}

from_input!(SelectParams {
    explain,
    count_only
});

/// The hosts a selector selects, against the inventory as it is now.
#[utoipa::path(
    post, path = "/fleet/select", tag = "groups",
    params(SelectParams),
    request_body = crate::request::SelectorRequest,
    responses(
        (status = 200, description = "The selection", body = SelectionView),
        (status = 400, description = "`malformed`"),
        (status = 413, description = "`too-large`: over 64 KiB, explicit ids excepted"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`selector-*` or `group-unknown`: `errors` has everything that is wrong"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn select(
    State(engine): State<Engine>,
    StrictQuery(params): StrictQuery<SelectParams>,
    JsonBody(selector): JsonBody<Value>,
) -> Result<Json<SelectionView>, Problem> {
    let selected = select::select(&engine, &selector, params.explain.unwrap_or(false)).await;
    Ok(Json(view::selection(
        selected.map_err(of)?,
        params.count_only.unwrap_or(false),
    )))
}
