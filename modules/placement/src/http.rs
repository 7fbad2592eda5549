//! The module's routes, slice by slice. Licence, roles, body limits and idempotent replays are the server's; none of them is
//! looked at here.

pub mod path_name;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use fleetwright_plugin_api::sdk::Server;
use utoipa::OpenApi;

use crate::nodes::fleet::Fleet;
use crate::placements::placer::Placer;
use crate::{budgets, claims, factories, jobs, nodes, placements, products};

/// The routes of this module as an OpenAPI document.
#[derive(OpenApi)]
#[openapi(info(
    title = "Placement, jobs and budgets",
    description = "Which node a VM goes to, which worker takes which job, and what it may cost."
))]
struct Head;

/// The whole document.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = Head::openapi();
    for part in [
        nodes::http::ApiDocument::openapi(),
        placements::http::ApiDocument::openapi(),
        jobs::http::ApiDocument::openapi(),
        claims::http::ApiDocument::openapi(),
        factories::http::ApiDocument::openapi(),
        products::http::ApiDocument::openapi(),
        budgets::http::ApiDocument::openapi(),
    ] {
        document.merge(part);
    }
    document
}

/// The routes, at their full paths.
pub fn router(server: &Server) -> Router {
    router_over(server, &Fleet::new(server))
}

/// The same over a registry of nodes that somebody keeps up to date.
pub fn router_over(server: &Server, fleet: &Fleet) -> Router {
    Router::new()
        .merge(nodes::http::router(fleet.clone()))
        .merge(placements::http::router(Placer::new(fleet)))
        .merge(jobs::http::router(server.clone()))
        .merge(claims::http::router(server))
        .merge(factories::http::router(server.clone()))
        .merge(products::http::router(server.clone()))
        .merge(budgets::http::router(server.clone()))
        // The server has limited the body already.
        .layer(DefaultBodyLimit::disable())
}
