//! New operations: from a request, and from an earlier operation.

use axum::extract::State;
use fleetwright_operations::create::from_body;
use fleetwright_operations::kind::{CreatedOf, problem};
use fleetwright_plugin_api::sdk::{Caller, JsonBody, OptionalJsonBody, PathId, Problem, Server};
use serde_json::Value;
use uuid::Uuid;

use crate::actions::retry;
use crate::request::RetryRequest;
use crate::row::BulkKind;

/// Run one operation on every host a selector selects. The hosts are frozen; with `plan_only` nothing is stored.
#[utoipa::path(
    post, path = "/fleet/bulk", tag = "bulk",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = crate::request::BulkRequest,
    responses(
        (status = 200, description = "With `plan_only`: what would be created", body = crate::view::BulkPlan),
        (status = 202, description = "Accepted", body = crate::view::BulkAccepted,
         headers(("location" = String, description = "The new operation"))),
        (status = 400, description = "`malformed`"),
        (status = 409, description = "`selection-changed`, or a request with this key is in progress"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`selection-empty`, or the body is invalid: `errors` has everything that is wrong")
    )
)]
pub async fn create(
    State(server): State<Server>,
    Caller(context): Caller,
    JsonBody(body): JsonBody<Value>,
) -> Result<CreatedOf<BulkKind>, Problem> {
    let created = from_body::<BulkKind>(&server, &context, body, None).await;
    created.map_err(problem::<BulkKind>)
}

/// Run it again, as a new operation, on the hosts that failed or were skipped.
#[utoipa::path(
    post, path = "/fleet/bulk/{id}/retry", tag = "bulk",
    params(("id" = Uuid, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = crate::request::RetryRequest,
    responses(
        (status = 202, description = "Accepted; `parent_id` is the one retried", body = crate::view::BulkAccepted,
         headers(("location" = String, description = "The new operation"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such operation"),
        (status = 409, description = "A request with this key is in progress"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`selection-empty`: no host has such a status; or the body is invalid")
    )
)]
pub async fn retry(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    OptionalJsonBody(body): OptionalJsonBody<RetryRequest>,
) -> Result<CreatedOf<BulkKind>, Problem> {
    let created = retry::retry(&server, &context, id, body.asked()).await;
    created.map_err(problem::<BulkKind>)
}
