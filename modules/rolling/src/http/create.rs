//! New deployments.

use axum::extract::State;
use fleetwright_operations::create::from_body;
use fleetwright_operations::kind::{CreatedOf, problem};
use fleetwright_plugin_api::sdk::{Caller, JsonBody, Problem, Server};
use serde_json::Value;

use crate::row::RollingKind;

/// Run one operation on every host a selector selects, batch after batch. The hosts are frozen, online ones first; with
/// `plan_only` nothing is stored.
#[utoipa::path(
    post, path = "/fleet/rolling", tag = "rolling",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = crate::request::RollingRequest,
    responses(
        (status = 200, description = "With `plan_only`: what would be created", body = crate::view::RollingPlan),
        (status = 202, description = "Accepted", body = crate::view::RollingAccepted,
         headers(("location" = String, description = "The new deployment"))),
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
) -> Result<CreatedOf<RollingKind>, Problem> {
    let created = from_body::<RollingKind>(&server, &context, body, None).await;
    created.map_err(problem::<RollingKind>)
}
