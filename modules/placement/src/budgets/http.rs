//! Its routes.

use axum::Router;
use fleetwright_plugin_api::sdk::Server;
use utoipa::OpenApi;

/// Its routes as an OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths())]
pub struct ApiDocument;

/// Its routes, at their full paths.
pub fn router(server: Server) -> Router {
    Router::new().with_state(server)
}
