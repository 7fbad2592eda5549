//! The module's routes: extract, one action, one view. Licence, roles, body limits and idempotent replays are the
//! server's; none of them is looked at here.

pub mod control;
pub mod create;
pub mod events;
pub mod list;
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
        title = "Rolling deployments",
        description = "One operation over a frozen set of hosts, batch after batch."
    ),
    paths(
        create::create,
        list::list,
        read::get,
        read::progress,
        read::batches,
        read::hosts,
        read::output,
        read::trace,
        events::events,
        control::pause,
        control::resume,
        control::cancel,
        control::approve,
    )
)]
pub struct ApiDocument;

/// The routes, at their full paths.
pub fn router(server: Server) -> Router {
    const BASE: &str = "/api/v1/fleet/rolling";
    let at = |rest: &str| format!("{BASE}/{{id}}{rest}");
    Router::new()
        .route(BASE, get(list::list).post(create::create))
        .route(&at(""), get(read::get))
        .route(&at("/progress"), get(read::progress))
        .route(&at("/batches"), get(read::batches))
        .route(&at("/hosts"), get(read::hosts))
        .route(&at("/hosts/{host_id}/output"), get(read::output))
        .route(&at("/events"), get(events::events))
        .route(&at("/trace"), get(read::trace))
        .route(&at("/pause"), post(control::pause))
        .route(&at("/resume"), post(control::resume))
        .route(&at("/cancel"), post(control::cancel))
        .route(&at("/approve"), post(control::approve))
        // The server has limited the body already, and more generously: a selector may name 100,000 hosts.
        .layer(DefaultBodyLimit::disable())
        .with_state(server)
}
