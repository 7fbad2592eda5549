//! The module's routes: extract, one action, one view. Licence, roles, body limits and idempotent replays are the
//! server's; none of them is looked at here.

pub mod change;
pub mod problem;
pub mod read;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use fleetwright_plugin_api::sdk::Server;
use utoipa::OpenApi;

/// The routes of this module as an OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Scheduled operations",
        description = "Cron expressions that launch bulk operations and rolling deployments."
    ),
    paths(
        read::list,
        change::create,
        read::preview,
        read::get,
        change::replace,
        change::delete,
        change::run,
        read::runs,
    )
)]
pub struct ApiDocument;

/// The routes, at their full paths.
pub fn router(server: Server) -> Router {
    Router::new()
        .route(
            "/api/v1/fleet/schedules",
            get(read::list).post(change::create),
        )
        .route("/api/v1/fleet/schedules/preview", post(read::preview))
        .route(
            "/api/v1/fleet/schedules/{id}",
            get(read::get).put(change::replace).delete(change::delete),
        )
        .route("/api/v1/fleet/schedules/{id}/run", post(change::run))
        .route("/api/v1/fleet/schedules/{id}/runs", get(read::runs))
        // The server has limited the body already, and more generously: a selector may name 100,000 hosts.
        .layer(DefaultBodyLimit::disable())
        .with_state(server)
}
