//! Changes of schedules, and running one now.

use axum::extract::State;
use axum::http::StatusCode;
use fleetwright_plugin_api::sdk::{Caller, IfMatch, JsonBody, PathId, Problem, Reply, Server};
use serde_json::Value;
use uuid::Uuid;

use crate::actions::{delete as deletion, run_now, save};
use crate::http::problem::of;

/// Create a schedule. It launches as whoever saved it last, with the rights they have then.
#[utoipa::path(
    post, path = "/fleet/schedules", tag = "schedules",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = crate::request::ScheduleRequest,
    responses(
        (status = 201, description = "Created", body = crate::view::ScheduleDetail,
         headers(("location" = String, description = "The new schedule"), ("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 409, description = "`name-taken`, or a request with this key is in progress"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`cron-invalid`, `schedule-*`, or what it launches is invalid: `errors` has everything that is wrong"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn create(
    State(server): State<Server>,
    Caller(context): Caller,
    JsonBody(body): JsonBody<Value>,
) -> Result<Reply, Problem> {
    save::create(&server, &context, &body).await.map_err(of)
}

/// Replace a schedule. What the body leaves out has its default. The caller becomes its owner.
#[utoipa::path(
    put, path = "/fleet/schedules/{id}", tag = "schedules",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header)),
    request_body = crate::request::ScheduleRequest,
    responses(
        (status = 200, description = "Replaced", body = crate::view::ScheduleDetail,
         headers(("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such schedule"),
        (status = 409, description = "`name-taken`"),
        (status = 412, description = "`precondition-failed`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`cron-invalid`, `schedule-*`, or what it launches is invalid: `errors` has everything that is wrong"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn replace(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    seen: IfMatch,
    JsonBody(body): JsonBody<Value>,
) -> Result<Reply, Problem> {
    let replaced = save::replace(&server, &context, id, &seen, &body).await;
    replaced.map_err(of)
}

/// Delete a schedule and the record of its runs. What it has launched goes on.
#[utoipa::path(
    delete, path = "/fleet/schedules/{id}", tag = "schedules",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 204, description = "Deleted"),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such schedule"),
        (status = 412, description = "`precondition-failed`"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn delete(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    seen: IfMatch,
) -> Result<StatusCode, Problem> {
    let deleted = deletion::delete(&server, &context, id, &seen).await;
    deleted.map_err(of)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Run it now, as the caller, also while it is disabled.
#[utoipa::path(
    post, path = "/fleet/schedules/{id}/run", tag = "schedules",
    params(("id" = Uuid, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses(
        (status = 202, description = "Recorded; it is launched at once", body = crate::view::RunView,
         headers(("location" = String, description = "The runs"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such schedule"),
        (status = 409, description = "`schedule-overlap`, or a request with this key is in progress"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn run(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
) -> Result<Reply, Problem> {
    run_now::run_now(&server, &context, id).await.map_err(of)
}
