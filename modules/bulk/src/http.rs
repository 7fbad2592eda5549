//! The module's routes: extract, one action, one view. Licence, roles, body limits and idempotent replays are the
//! server's; none of them is looked at here.

pub mod control;
pub mod create;
pub mod events;
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
        title = "Bulk operations",
        description = "One operation over a frozen set of hosts."
    ),
    paths(
        create::create,
        create::retry,
        read::list,
        read::get,
        read::progress,
        read::hosts,
        read::output,
        events::events,
        control::cancel,
        control::pause,
        control::resume,
    )
)]
pub struct ApiDocument;

/// The routes, at their full paths.
pub fn router(server: Server) -> Router {
    Router::new()
        .route("/api/v1/fleet/bulk", get(read::list).post(create::create))
        .route("/api/v1/fleet/bulk/{id}", get(read::get))
        .route("/api/v1/fleet/bulk/{id}/progress", get(read::progress))
        .route("/api/v1/fleet/bulk/{id}/hosts", get(read::hosts))
        .route(
            "/api/v1/fleet/bulk/{id}/hosts/{host_id}/output",
            get(read::output),
        )
        .route("/api/v1/fleet/bulk/{id}/events", get(events::events))
        .route("/api/v1/fleet/bulk/{id}/cancel", post(control::cancel))
        .route("/api/v1/fleet/bulk/{id}/pause", post(control::pause))
        .route("/api/v1/fleet/bulk/{id}/resume", post(control::resume))
        .route("/api/v1/fleet/bulk/{id}/retry", post(create::retry))
        // The server has limited the body already, and more generously: a selector may name 100,000 hosts.
        .layer(DefaultBodyLimit::disable())
        .with_state(server)
}
