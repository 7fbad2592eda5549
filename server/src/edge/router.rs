//! The router of the operators' port: every part's routes under one gate.

use std::sync::LazyLock;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::BASE;
use super::{docs, envelope, gate, health, in_process, openapi};
use crate::agents::http::AgentsState;
use crate::agents::{self, Agents};
use crate::app::{App, AppState};
use crate::http::Problem;
use crate::modules::http::mount_fleet_routes;

/// The routes of every part but the agents', below the base, with their description.
fn api() -> OpenApiRouter<AppState> {
    OpenApiRouter::default()
        .routes(routes!(document))
        .merge(crate::auth::http::router())
        .merge(crate::audit::http::router())
        .merge(crate::events::http::router())
        .merge(crate::hosts::http::router())
        .merge(crate::commands::http::router())
        .merge(crate::plans::http::router())
        .merge(crate::secrets::http::router())
        .merge(crate::modules::http::router())
        .merge(crate::licensing::http::router())
}

/// The core's own document, without modules. Made when it is first asked for: the routes do not change.
pub fn core_document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
        let mut nested = OpenApiRouter::default().nest(BASE, api());
        let mut agents = OpenApiRouter::default().nest(BASE, agents::http::router());
        let mut document = nested.to_openapi();
        document.merge(agents.to_openapi());
        openapi::complete(&document)
    });
    &DOCUMENT
}

/// The document as of now: the core's and that of the modules which are loaded.
fn document_of(app: &App) -> Value {
    openapi::with_modules(core_document().clone(), vec![app.modules.openapi()])
}

/// The whole router, ready to serve.
pub fn router(app: AppState, agents: Agents) -> Router {
    let (api, _) = api().split_for_parts();
    let (of_agents, _) = agents::http::router().split_for_parts();
    let state = AgentsState {
        app: app.clone(),
        agents,
    };
    let api = api.merge(of_agents.with_state(state));
    let api = mount_fleet_routes(api, app.modules.clone());
    let inside = Router::new()
        .nest(BASE, api.clone())
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method);
    app.modules
        .set_in_process(in_process::serve(inside.with_state(app.clone())));
    Router::new()
        .nest(BASE, api)
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/docs", get(for_people))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(app.clone(), gate::gate))
        .layer(from_fn_with_state(app.clone(), envelope::envelop))
        .with_state(app)
}

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = "meta",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
async fn document(State(app): State<AppState>) -> Json<Value> {
    Json(document_of(&app))
}

async fn for_people(State(app): State<AppState>) -> Response {
    docs::page(&document_of(&app))
}

async fn unknown() -> Response {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not-found",
        "There is no such route.",
    )
    .into_response()
}

/// The router adds `Allow`, which only it knows.
async fn wrong_method() -> Problem {
    Problem::method_not_allowed("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::access;

    #[test]
    fn every_described_route_has_an_access_rule() {
        let document = core_document();
        let paths = document["paths"].as_object().expect("paths");
        assert!(paths.len() > 8, "the routes are described");
        for (path, item) in paths {
            for method in item.as_object().expect("an item").keys() {
                let known = access::table().any(|(known, below, _)| {
                    known.eq_ignore_ascii_case(method) && *path == format!("{BASE}{below}")
                });
                assert!(known, "{method} {path} has no row in the access table");
            }
        }
    }
}
