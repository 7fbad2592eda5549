//! The routes of budgets: extract, one action, one view.

pub mod body;
pub mod change;
pub mod read;

use axum::Router;
use axum::routing::{get, post};
use fleetwright_plugin_api::sdk::Server;
use utoipa::OpenApi;

use super::actions::Desk;
use crate::settings::Settings;

/// Its routes as an OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(
    read::list,
    read::get,
    change::set,
    change::pause,
    change::resume,
    change::spend,
    read::history
))]
pub struct ApiDocument;

/// Its routes, at their full paths.
pub fn router(server: Server) -> Router {
    let is_enforced = Settings::of(&server).budgets;
    router_of(Desk {
        server,
        is_enforced,
    })
}

/// The same, whatever the server's settings say.
pub fn router_of(desk: Desk) -> Router {
    Router::new()
        .route("/api/v1/fleet/budgets", get(read::list))
        .route(
            "/api/v1/fleet/budgets/{product_id}",
            get(read::get).put(change::set),
        )
        .route(
            "/api/v1/fleet/budgets/{product_id}/pause",
            post(change::pause),
        )
        .route(
            "/api/v1/fleet/budgets/{product_id}/resume",
            post(change::resume),
        )
        .route(
            "/api/v1/fleet/budgets/{product_id}/spend",
            post(change::spend),
        )
        .route(
            "/api/v1/fleet/budgets/{product_id}/history",
            get(read::history),
        )
        .with_state(desk)
}
