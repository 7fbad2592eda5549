//! Liveness, readiness, metrics: for machines that watch the server.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use crate::app::{App, AppState};
use crate::auth::bearer;
use crate::config::Secret;
use crate::http::Problem;
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

/// What happened since the start, for whoever has the token if there is one.
pub async fn metrics(State(app): State<AppState>, headers: HeaderMap) -> Result<Response, Problem> {
    if let Some(token) = &app.config.metrics_token
        && !shows(&headers, token)
    {
        return Err(Problem::unauthenticated());
    }
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
    Ok(([(header::CONTENT_TYPE, media_type)], text).into_response())
}

/// Whether this bearer token is shown. Digests are compared, in the same time wherever they differ.
fn shows(headers: &HeaderMap, token: &Secret) -> bool {
    let shown = headers.get(header::AUTHORIZATION);
    let shown = shown.and_then(|value| value.to_str().ok()?.split_once(' '));
    shown.is_some_and(|(scheme, shown)| {
        let [shown, token] = [shown.trim(), token.expose()].map(bearer::digest);
        scheme.eq_ignore_ascii_case("bearer") && verify_slices_are_equal(&shown, &token).is_ok()
    })
}

#[cfg(test)]
mod tests;
