//! Its routes.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use fleetwright_plugin_api::sdk::{Caller, JsonBody, PathId, Problem, Server, StrictQuery};
use utoipa::OpenApi;
use uuid::Uuid;

use super::actions;
use super::claimer::{Claimer, Outcome};
use super::request::{Asked, ClaimQuery, ClaimRequest};
use super::view::{ClaimedView, Explanation};

/// Its routes as an OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(claim, claim_one), components(schemas(Explanation)))]
pub struct ApiDocument;

/// Its routes, at their full paths.
pub fn router(server: &Server) -> Router {
    Router::new()
        .route("/api/v1/fleet/jobs/claim", post(claim))
        .route("/api/v1/fleet/jobs/{id}/claim", post(claim_one))
        .with_state(Claimer::new(server))
}

/// Claim the best job for a factory. A claim that is repeated under its `claim_id` gives the same job.
#[utoipa::path(
    post, path = "/fleet/jobs/claim", tag = "claims",
    params(
        ("explain" = Option<bool>, Query, description = "Also say which jobs were considered, and what each was worth"),
        ("dry_run" = Option<bool>, Query, description = "Only say so; claim nothing"),
        ("Idempotency-Key" = Option<String>, Header)
    ),
    request_body = ClaimRequest,
    responses(
        (status = 200, description = "The job, held by the factory; where nothing was claimed and `explain` or `dry_run` was asked for, an `Explanation`", body = ClaimedView,
         headers(("etag" = String, description = "The revision"))),
        (status = 204, description = "There is nothing for it"),
        (status = 400, description = "`malformed`"),
        (status = 409, description = "`stale-lease`: what was claimed under this `claim_id` is held no more; `in-progress`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`factory-unknown`, `claim-*`, `weight-invalid`"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn claim(
    State(claimer): State<Claimer>,
    Caller(context): Caller,
    StrictQuery(query): StrictQuery<ClaimQuery>,
    JsonBody(asked): JsonBody<Asked>,
) -> Result<Response, Problem> {
    let outcome = actions::claim_any(&claimer, &context, &asked, &query).await?;
    Ok(answer(outcome))
}

/// Claim this job for a factory.
#[utoipa::path(
    post, path = "/fleet/jobs/{id}/claim", tag = "claims",
    params(
        ("id" = Uuid, Path),
        ("explain" = Option<bool>, Query, description = "Also say what it was worth"),
        ("dry_run" = Option<bool>, Query, description = "Only say so; claim nothing"),
        ("Idempotency-Key" = Option<String>, Header)
    ),
    request_body = ClaimRequest,
    responses(
        (status = 200, description = "The job, held by the factory; where nothing was claimed and `explain` or `dry_run` was asked for, an `Explanation`", body = ClaimedView,
         headers(("etag" = String, description = "The revision"))),
        (status = 204, description = "The factory cannot have it now: it lacks a capability or a seat, or the product's budget is paused or used up"),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such job"),
        (status = 409, description = "`invalid-transition`: it is not queued; `stale-lease`; `in-progress`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`factory-unknown`, `claim-*`, `weight-invalid`"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn claim_one(
    State(claimer): State<Claimer>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    StrictQuery(query): StrictQuery<ClaimQuery>,
    JsonBody(asked): JsonBody<Asked>,
) -> Result<Response, Problem> {
    let outcome = actions::claim_one(&claimer, &context, id, &asked, &query).await?;
    Ok(answer(outcome))
}

fn answer(outcome: Outcome) -> Response {
    match outcome {
        Outcome::Given(reply) => reply.into_response(),
        Outcome::Nothing(Some(explanation)) => Json(explanation).into_response(),
        Outcome::Nothing(None) => StatusCode::NO_CONTENT.into_response(),
    }
}
