//! Its routes: extract, one action, one view.

pub mod change;
pub mod events;
pub mod operate;
pub mod read;

use axum::Router;
use axum::routing::{get, post};
use fleetwright_plugin_api::sdk::Server;
use utoipa::OpenApi;

/// Its routes as an OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(
    change::submit,
    read::list,
    read::counts,
    read::get,
    change::report,
    change::children,
    operate::waive,
    read::dag,
    change::artifacts,
    change::runs,
    operate::requeue,
    operate::cancel,
    operate::reject,
    operate::ship,
    events::events,
))]
pub struct ApiDocument;

/// Its routes, at their full paths.
pub fn router(server: Server) -> Router {
    const JOBS: &str = "/api/v1/fleet/jobs";
    let of = |rest: &str| format!("{JOBS}/{{id}}{rest}");
    Router::new()
        .route(JOBS, get(read::list).post(change::submit))
        .route(&format!("{JOBS}/counts"), get(read::counts))
        .route(&of(""), get(read::get).patch(change::report))
        .route(&of("/children"), post(change::children))
        .route(&of("/waive"), post(operate::waive))
        .route(&of("/dag"), get(read::dag))
        .route(&of("/artifacts"), post(change::artifacts))
        .route(&of("/runs"), post(change::runs))
        .route(&of("/requeue"), post(operate::requeue))
        .route(&of("/cancel"), post(operate::cancel))
        .route(&of("/reject"), post(operate::reject))
        .route(&of("/ship"), post(operate::ship))
        .route(&of("/events"), get(events::events))
        .with_state(server)
}
