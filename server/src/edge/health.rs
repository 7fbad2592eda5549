//! Liveness, readiness, metrics: for machines that watch the server.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::{Value, json};

use crate::app::{App, AppState};
use crate::loops::Condition;
use crate::telemetry;

/// Alive: the process answers.
pub async fn healthz() -> impl IntoResponse {
    Json(json!({"status": "ok"}))
}

/// Ready: the database answers, migrations are applied, modules have been looked at, and every loop without which
/// commands stand still has run lately. Tells how each loop is, also of those that may be late.
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
    let body = json!({"status": overall, "checks": shown, "loops": loops(&app)});
    (status, Json(body)).into_response()
}

fn loops(app: &App) -> Vec<Value> {
    let seen = app.loops.look().into_iter();
    seen.map(|seen| {
        json!({
            "name": seen.which.name(),
            "period_seconds": seen.which.period().map(|period| period.as_secs()),
            "essential": seen.which.is_essential(),
            "runs": seen.runs,
            "last_run_seconds_ago": seen.age.map(|age| age.as_secs()),
            "condition": seen.condition.as_str(),
        })
    })
    .collect()
}

pub async fn metrics(State(app): State<AppState>) -> Response {
    telemetry::set_agents_online(app.agents_online());
    for seen in app.loops.look() {
        telemetry::set_loop(&telemetry::LoopFigures {
            name: seen.which.name(),
            period: seen.which.period(),
            runs: seen.runs,
            age: seen.age,
            now_us: app.clock.now_us(),
            is_late: !matches!(seen.condition, Condition::Fine | Condition::Absent),
        });
    }
    let text = app
        .metrics
        .as_ref()
        .map_or_else(String::new, |metrics| metrics.render());
    let media_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, media_type)], text).into_response()
}

#[cfg(test)]
mod tests;
