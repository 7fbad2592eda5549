//! The routes that only this kind has, added to those of every kind: extract, one action, one view.

pub mod control;
pub mod create;

use axum::Router;
use axum::routing::post;
use fleetwright_operations::http::{document, routes};
use fleetwright_plugin_api::sdk::Server;
use utoipa::OpenApi;

use crate::row::BulkKind;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Bulk operations",
        description = "One operation over a frozen set of hosts."
    ),
    paths(
        create::create,
        create::retry,
        control::cancel,
        control::pause,
        control::resume,
    )
)]
struct OwnDocument;

/// The routes of this module as an OpenAPI document.
pub struct ApiDocument;

impl OpenApi for ApiDocument {
    fn openapi() -> utoipa::openapi::OpenApi {
        document::<BulkKind>(OwnDocument::openapi())
    }
}

/// The routes, at their full paths.
pub fn router(server: Server) -> Router {
    routes::<BulkKind>(server, |shared, base| {
        let at = |rest: &str| format!("{base}/{{id}}{rest}");
        shared
            .route(base, post(create::create))
            .route(&at("/cancel"), post(control::cancel))
            .route(&at("/pause"), post(control::pause))
            .route(&at("/resume"), post(control::resume))
            .route(&at("/retry"), post(create::retry))
    })
}
