//! Pause, resume, cancel. `If-Match` makes each conditional on the state the client has seen.

use axum::extract::State;
use axum::response::Response;
use fleetwright_operations::http::controlled;
use fleetwright_operations::kind::problem;
use fleetwright_plugin_api::sdk::{Caller, IfMatch, OptionalJsonBody, PathId, Problem, Server};
use uuid::Uuid;

use crate::actions::control::cancel_of;
use crate::decide::Control;
use crate::request::CancelRequest;
use crate::row::BulkKind;

/// Start nothing more. Hosts that run finish, or are ended with `kill`; hosts that wait are skipped as `cancelled`.
#[utoipa::path(
    post, path = "/fleet/bulk/{id}/cancel", tag = "bulk",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header)),
    request_body = crate::request::CancelRequest,
    responses(
        (status = 200, description = "Cancelled, or being cancelled already", body = crate::view::BulkSummary),
        (status = 404, description = "No such operation"),
        (status = 409, description = "`invalid-transition`: it is finished"),
        (status = 412, description = "It changed since it was read"),
        (status = 422, description = "The body is invalid, or the selector selects nothing")
    )
)]
pub async fn cancel(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    seen: IfMatch,
    OptionalJsonBody(body): OptionalJsonBody<CancelRequest>,
) -> Result<Response, Problem> {
    let asked = cancel_of(&server, &context, id, body.asked()).await;
    let asked = asked.map_err(problem::<BulkKind>)?;
    controlled::<BulkKind>(&server, &context, id, seen, asked).await
}

/// Start nothing more until resumed. Pausing a paused operation changes nothing.
#[utoipa::path(
    post, path = "/fleet/bulk/{id}/pause", tag = "bulk",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 200, description = "Paused", body = crate::view::BulkSummary),
        (status = 404, description = "No such operation"),
        (status = 409, description = "`invalid-transition`: it is finished or being cancelled"),
        (status = 412, description = "It changed since it was read")
    )
)]
pub async fn pause(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    seen: IfMatch,
) -> Result<Response, Problem> {
    controlled::<BulkKind>(&server, &context, id, seen, Control::Pause).await
}

/// Go on with a paused operation.
#[utoipa::path(
    post, path = "/fleet/bulk/{id}/resume", tag = "bulk",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 200, description = "Resumed", body = crate::view::BulkSummary),
        (status = 404, description = "No such operation"),
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
    controlled::<BulkKind>(&server, &context, id, seen, Control::Resume).await
}
