//! The routes that only this kind has, added to those of every kind: extract, one action, one view.

pub mod control;
pub mod create;
pub mod read;

use axum::Router;
use axum::routing::{get, post};
use fleetwright_operations::http::{document, routes};
use fleetwright_plugin_api::sdk::Server;
use utoipa::OpenApi;

use crate::row::RollingKind;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Rolling deployments",
        description = "One operation over a frozen set of hosts, batch after batch."
    ),
    paths(
        create::create,
        read::batches,
        read::trace,
        control::pause,
        control::resume,
        control::cancel,
        control::approve,
    )
)]
struct OwnDocument;

/// The routes of this module as an OpenAPI document.
pub struct ApiDocument;

impl OpenApi for ApiDocument {
    fn openapi() -> utoipa::openapi::OpenApi {
        document::<RollingKind>(OwnDocument::openapi())
    }
}

/// The routes, at their full paths.
pub fn router(server: Server) -> Router {
    routes::<RollingKind>(server, |shared, base| {
        let at = |rest: &str| format!("{base}/{{id}}{rest}");
        shared
            .route(base, post(create::create))
            .route(&at("/batches"), get(read::batches))
            .route(&at("/trace"), get(read::trace))
            .route(&at("/pause"), post(control::pause))
            .route(&at("/resume"), post(control::resume))
            .route(&at("/cancel"), post(control::cancel))
            .route(&at("/approve"), post(control::approve))
    })
}
