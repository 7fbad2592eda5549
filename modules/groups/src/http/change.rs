//! Changes of groups.

use axum::extract::State;
use axum::http::StatusCode;
use fleetwright_plugin_api::sdk::{Caller, IfMatch, JsonBody, PathId, Problem, Reply};
use serde_json::Value;
use uuid::Uuid;

use crate::actions::delete as deletion;
use crate::actions::save::{Asked, save};
use crate::engine::Engine;
use crate::http::problem::of;

/// Create a group; with an `id` in the body, replace that one.
#[utoipa::path(
    post, path = "/fleet/groups", tag = "groups",
    params(("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    request_body = crate::request::GroupRequest,
    responses(
        (status = 200, description = "Replaced", body = crate::view::GroupView,
         headers(("etag" = String, description = "The revision"))),
        (status = 201, description = "Created", body = crate::view::GroupView,
         headers(("location" = String, description = "The new group"), ("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No group of that id"),
        (status = 409, description = "`name-taken`, or a request with this key is in progress"),
        (status = 412, description = "`precondition-failed`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`group-*` or `selector-*`; of `group-cycle`, `path` names the groups"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn create(
    State(engine): State<Engine>,
    Caller(context): Caller,
    seen: IfMatch,
    JsonBody(body): JsonBody<Value>,
) -> Result<Reply, Problem> {
    let asked = Asked::Posted(seen);
    save(&engine, &context, asked, body).await.map_err(of)
}

/// Replace a group. What the body leaves out becomes empty.
#[utoipa::path(
    put, path = "/fleet/groups/{id}", tag = "groups",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header)),
    request_body = crate::request::GroupRequest,
    responses(
        (status = 200, description = "Replaced", body = crate::view::GroupView,
         headers(("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such group"),
        (status = 409, description = "`name-taken`"),
        (status = 412, description = "`precondition-failed`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`group-*` or `selector-*`; of `group-cycle`, `path` names the groups"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn replace(
    State(engine): State<Engine>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    seen: IfMatch,
    JsonBody(body): JsonBody<Value>,
) -> Result<Reply, Problem> {
    let asked = Asked::Put(id, seen);
    save(&engine, &context, asked, body).await.map_err(of)
}

/// Delete a group. Its children move to its parent.
#[utoipa::path(
    delete, path = "/fleet/groups/{id}", tag = "groups",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 204, description = "Deleted"),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such group"),
        (status = 409, description = "`group-in-use`: `groups` and `schedules` name it"),
        (status = 412, description = "`precondition-failed`"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn delete(
    State(engine): State<Engine>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    seen: IfMatch,
) -> Result<StatusCode, Problem> {
    let deleted = deletion::delete(&engine, &context, id, &seen).await;
    deleted.map_err(of)?;
    Ok(StatusCode::NO_CONTENT)
}
