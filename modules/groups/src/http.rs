//! The module's routes: extract, one action, one view. Licence, roles, body limits and idempotent replays are the server's;
//! none of them is looked at here.

pub mod change;
pub mod problem;
pub mod read;
pub mod select;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use utoipa::OpenApi;

use crate::engine::Engine;

/// The routes of this module as an OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Selectors and groups",
        description = "Which hosts are meant, asked of the live inventory."
    ),
    paths(
        select::select,
        change::create,
        change::replace,
        change::delete,
        read::list,
        read::get,
        read::hosts,
    )
)]
pub struct ApiDocument;

/// The routes, at their full paths.
pub fn router(engine: Engine) -> Router {
    Router::new()
        .route("/api/v1/fleet/select", post(select::select))
        .route("/api/v1/fleet/groups", get(read::list).post(change::create))
        .route(
            "/api/v1/fleet/groups/{id}",
            get(read::get).put(change::replace).delete(change::delete),
        )
        .route("/api/v1/fleet/groups/{id}/hosts", get(read::hosts))
        // The server has limited the body already, and more generously: a selector may name 100,000 hosts.
        .layer(DefaultBodyLimit::disable())
        .with_state(engine)
}
