//! Pause, resume, cancel, approve. `If-Match` makes each conditional on the state the client has seen.

use axum::extract::State;
use axum::response::Response;
use fleetwright_operations::http::controlled;
use fleetwright_plugin_api::sdk::{Caller, IfMatch, OptionalJsonBody, PathId, Problem, Server};
use uuid::Uuid;

use crate::decide::control::Control;
use crate::request::{ApproveRequest, RollingCancelRequest};
use crate::row::RollingKind;

/// Dispatch nothing more until resumed, and stop the clocks. Hosts that run finish. Pausing a paused one changes nothing.
#[utoipa::path(
    post, path = "/fleet/rolling/{id}/pause", tag = "rolling",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 200, description = "Paused", body = crate::view::RollingSummary),
        (status = 404, description = "No such deployment"),
        (status = 409, description = "`invalid-transition`: the detail names the state that forbids it"),
        (status = 412, description = "It changed since it was read")
    )
)]
pub async fn pause(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    seen: IfMatch,
) -> Result<Response, Problem> {
    controlled::<RollingKind>(&server, &context, id, seen, Control::Pause).await
}

/// Go on with a paused deployment, with the rest of its delay. If failures paused it, those so far are accepted.
#[utoipa::path(
    post, path = "/fleet/rolling/{id}/resume", tag = "rolling",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 200, description = "Resumed", body = crate::view::RollingSummary),
        (status = 404, description = "No such deployment"),
        (status = 409, description = "`invalid-transition`: it is not paused"),
        (status = 412, description = "It changed since it was read")
    )
)]
pub async fn resume(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    seen: IfMatch,
) -> Result<Response, Problem> {
    controlled::<RollingKind>(&server, &context, id, seen, Control::Resume).await
}

/// Start nothing more. Hosts that run finish, or are ended with `kill`; the others are skipped as `cancelled`.
#[utoipa::path(
    post, path = "/fleet/rolling/{id}/cancel", tag = "rolling",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header)),
    request_body = crate::request::RollingCancelRequest,
    responses(
        (status = 200, description = "Being cancelled: `phase` says so until every host is terminal", body = crate::view::RollingSummary),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such deployment"),
        (status = 409, description = "`invalid-transition`: it is halting or over"),
        (status = 412, description = "It changed since it was read"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "The body is invalid")
    )
)]
pub async fn cancel(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    seen: IfMatch,
    OptionalJsonBody(body): OptionalJsonBody<RollingCancelRequest>,
) -> Result<Response, Problem> {
    let kill = body.kill();
    controlled::<RollingKind>(&server, &context, id, seen, Control::Cancel { kill }).await
}

/// Let the batch that waits begin.
#[utoipa::path(
    post, path = "/fleet/rolling/{id}/approve", tag = "rolling",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header)),
    request_body = crate::request::ApproveRequest,
    responses(
        (status = 200, description = "Approved", body = crate::view::RollingSummary),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such deployment"),
        (status = 409, description = "`invalid-transition`: nothing waits, or another batch"),
        (status = 412, description = "It changed since it was read"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "The body is invalid")
    )
)]
pub async fn approve(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    seen: IfMatch,
    OptionalJsonBody(body): OptionalJsonBody<ApproveRequest>,
) -> Result<Response, Problem> {
    let batch = body.batch;
    controlled::<RollingKind>(&server, &context, id, seen, Control::Approve { batch }).await
}
