//! What an operator does with a job. A body is optional, but for what is to be waived.

use axum::extract::State;
use fleetwright_plugin_api::sdk::{
    CallContext, Caller, JsonBody, OptionalJsonBody, PathId, Problem, Reply, Server,
};
use serde_json::Value;
use uuid::Uuid;

use crate::jobs::actions::operate::operate;
use crate::jobs::actions::waive as waiving;
use crate::jobs::decide::Event;
use crate::jobs::request::{self, Why};

/// Do without a dependency: it is waited for no more, whatever became of it.
#[utoipa::path(
    post, path = "/fleet/jobs/{id}/waive", tag = "jobs",
    params(("id" = Uuid, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = crate::jobs::request::Waiver,
    responses(
        (status = 200, description = "The job as it is now", body = crate::jobs::view::JobView,
         headers(("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such job"),
        (status = 409, description = "`invalid-transition`, `in-progress`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`job-dependency-unknown`, or a field is invalid"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn waive(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    JsonBody(body): JsonBody<Value>,
) -> Result<Reply, Problem> {
    let waiver = request::body(body)?;
    Ok(waiving::waive(&server, &context, id, &waiver).await?)
}

/// Queue a job again: one that failed, that is held, or that waits for a human. Its holder loses it.
#[utoipa::path(
    post, path = "/fleet/jobs/{id}/requeue", tag = "jobs",
    params(("id" = Uuid, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<crate::jobs::request::Why>,
    responses(
        (status = 200, description = "The job as it is now", body = crate::jobs::view::JobView,
         headers(("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such job"),
        (status = 409, description = "`invalid-transition`, `in-progress`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "A field is invalid"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn requeue(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    OptionalJsonBody(body): OptionalJsonBody<Value>,
) -> Result<Reply, Problem> {
    act(&server, &context, id, Event::Requeue, body).await
}

/// Cancel a job. What waits for it stays blocked.
#[utoipa::path(
    post, path = "/fleet/jobs/{id}/cancel", tag = "jobs",
    params(("id" = Uuid, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<crate::jobs::request::Why>,
    responses(
        (status = 200, description = "The job as it is now", body = crate::jobs::view::JobView,
         headers(("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such job"),
        (status = 409, description = "`invalid-transition`, `in-progress`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "A field is invalid"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn cancel(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    OptionalJsonBody(body): OptionalJsonBody<Value>,
) -> Result<Reply, Problem> {
    act(&server, &context, id, Event::Cancel, body).await
}

/// Give a job up. What waits for it stays blocked.
#[utoipa::path(
    post, path = "/fleet/jobs/{id}/reject", tag = "jobs",
    params(("id" = Uuid, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<crate::jobs::request::Why>,
    responses(
        (status = 200, description = "The job as it is now", body = crate::jobs::view::JobView,
         headers(("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such job"),
        (status = 409, description = "`invalid-transition`, `in-progress`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "A field is invalid"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn reject(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    OptionalJsonBody(body): OptionalJsonBody<Value>,
) -> Result<Reply, Problem> {
    act(&server, &context, id, Event::Reject, body).await
}

/// Ship a job whose review was handed over.
#[utoipa::path(
    post, path = "/fleet/jobs/{id}/ship", tag = "jobs",
    params(("id" = Uuid, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<crate::jobs::request::Why>,
    responses(
        (status = 200, description = "The job as it is now", body = crate::jobs::view::JobView,
         headers(("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such job"),
        (status = 409, description = "`invalid-transition`, `in-progress`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "A field is invalid"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn ship(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    OptionalJsonBody(body): OptionalJsonBody<Value>,
) -> Result<Reply, Problem> {
    act(&server, &context, id, Event::Ship, body).await
}

async fn act(
    server: &Server,
    context: &CallContext,
    id: Uuid,
    what: Event,
    body: Value,
) -> Result<Reply, Problem> {
    let why: Why = if body.is_null() {
        Why::default()
    } else {
        request::body(body)?
    };
    Ok(operate(server, context, id, what, why.reason).await?)
}
