//! Liveness, readiness, metrics: for machines that watch the server.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::json;

use crate::app::AppState;

/// Alive: the process answers.
pub async fn healthz() -> impl IntoResponse {
    Json(json!({"status": "ok"}))
}

/// Ready: the database answers, migrations are applied and modules have been looked at.
pub async fn readyz(State(app): State<AppState>) -> Response {
    let checks = app.readiness().await;
    let ready = checks.iter().all(|(_, ready)| *ready);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let shown: serde_json::Map<_, _> = checks
        .into_iter()
        .map(|(name, ready)| {
            (
                name.to_owned(),
                json!(if ready { "ok" } else { "not ready" }),
            )
        })
        .collect();
    let overall = if ready { "ready" } else { "not ready" };
    let body = json!({"status": overall, "checks": shown});
    (status, Json(body)).into_response()
}

pub async fn metrics(State(app): State<AppState>) -> Response {
    crate::telemetry::set_agents_online(app.agents_online());
    let text = app
        .metrics
        .as_ref()
        .map_or_else(String::new, |metrics| metrics.render());
    let media_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, media_type)], text).into_response()
}
