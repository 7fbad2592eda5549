//! Its routes.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use fleetwright_plugin_api::sdk::{Caller, IfMatch, JsonBody, Problem, Reply, Server};
use utoipa::OpenApi;

use super::actions::{self, WeightsView};
use crate::claims::request::WeightsRequest;
use crate::claims::score::SomeWeights;
use crate::http::path_name::PathName;

/// Its routes as an OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(weights, set_weights))]
pub struct ApiDocument;

/// Its routes, at their full paths.
pub fn router(server: Server) -> Router {
    Router::new()
        .route(
            "/api/v1/fleet/products/{id}/weights",
            get(weights).put(set_weights),
        )
        .with_state(server)
}

/// The weights by which a product's jobs are scored.
#[utoipa::path(
    get, path = "/fleet/products/{id}/weights", tag = "claims", params(("id" = String, Path)),
    responses(
        (status = 200, description = "The weights", body = WeightsView, headers(("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn weights(
    State(server): State<Server>,
    PathName(product_id): PathName,
) -> Result<Reply, Problem> {
    Ok(actions::get(&server, &product_id).await?)
}

/// Set the weights of a product; those left out are the defaults.
#[utoipa::path(
    put, path = "/fleet/products/{id}/weights", tag = "claims",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header), ("Idempotency-Key" = Option<String>, Header)),
    request_body = WeightsRequest,
    responses(
        (status = 200, description = "The weights", body = WeightsView, headers(("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 409, description = "`in-progress`"),
        (status = 412, description = "`precondition-failed`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`weight-invalid`"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn set_weights(
    State(server): State<Server>,
    Caller(context): Caller,
    PathName(product_id): PathName,
    seen: IfMatch,
    JsonBody(weights): JsonBody<SomeWeights>,
) -> Result<Reply, Problem> {
    Ok(actions::set(&server, &context, &product_id, &seen, weights).await?)
}
