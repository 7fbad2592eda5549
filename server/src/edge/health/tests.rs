//! Health as a watching machine sees it, over the whole router: a stalled loop is told, and an essential one takes the
//! server out of service until it runs again, whatever the wall clock does.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use metrics_exporter_prometheus::PrometheusBuilder;
use tower::ServiceExt as _;

use super::*;
use crate::agents::{Agents, AgentsParts};
use crate::clock::ManualClock;
use crate::config::Config;
use crate::edge::router;
use crate::loops::{Loop, Place};

const DAY_US: i64 = 86_400 * 1_000_000;

struct Watched {
    clock: Arc<ManualClock>,
    app: AppState,
    router: Router,
    _folder: tempfile::TempDir,
}

impl Watched {
    async fn start(metrics: Option<metrics_exporter_prometheus::PrometheusHandle>) -> Self {
        let clock = ManualClock::at(20_000 * DAY_US);
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            data_dir: folder.path().join("data"),
            modules_dir: folder.path().join("modules"),
            ..Config::default()
        };
        crate::install_crypto();
        let (app, _workers) = App::build(config, clock.clone(), metrics).await.unwrap();
        let agents = Agents::open(AgentsParts::of(&app)).unwrap();
        Self {
            clock,
            router: router::router(app.clone(), agents),
            app,
            _folder: folder,
        }
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn ready(&self) -> (StatusCode, Value) {
        let (status, body) = self.get("/readyz").await;
        (status, serde_json::from_str(&body).unwrap())
    }
}

fn run_each(places: &[Place]) {
    places.iter().for_each(|place| drop(place.begin()));
}

fn of<'a>(body: &'a Value, name: &str) -> &'a Value {
    let loops = body["loops"].as_array().unwrap();
    let found = loops.iter().find(|one| one["name"] == name);
    found.unwrap_or_else(|| panic!("no loop `{name}` in {body}"))
}

#[tokio::test]
async fn a_stalled_essential_loop_is_told_and_takes_the_server_out_of_service() {
    let watched = Watched::start(None).await;
    let (status, body) = watched.ready().await;
    assert_eq!(
        (status, &body["checks"]["loops"]),
        (StatusCode::OK, &json!("ok"))
    );
    assert_eq!(body["loops"].as_array().unwrap().len(), 19);
    let essential = [
        Loop::Presence,
        Loop::Deadlines,
        Loop::Dispatcher,
        Loop::Reports,
    ]
    .map(|which| watched.app.loops.take(which));
    let retention = watched.app.loops.take(Loop::Retention);
    run_each(&essential);
    drop(retention.begin());

    watched.clock.advance(Duration::from_secs(31));
    let (status, body) = watched.ready().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["checks"]["loops"], "not ready");
    assert_eq!(of(&body, "dispatcher")["condition"], "late");
    assert_eq!(of(&body, "dispatcher")["last_run_seconds_ago"], 31);
    // It waits for work, which may not come for days.
    assert_eq!(of(&body, "reports")["condition"], "fine");

    run_each(&essential);
    let (status, body) = watched.ready().await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(of(&body, "dispatcher")["runs"], 2);

    // What is not essential is told, and that is all.
    watched.clock.advance(Duration::from_secs(2 * 3_600));
    run_each(&essential);
    let (status, body) = watched.ready().await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(of(&body, "retention")["condition"], "late");

    drop(essential);
    let (status, body) = watched.ready().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(of(&body, "presence")["condition"], "ended");
}

#[tokio::test]
async fn a_step_of_the_wall_clock_makes_no_loop_late() {
    let watched = Watched::start(None).await;
    let places = [Loop::Deadlines, Loop::Dispatcher].map(|which| watched.app.loops.take(which));
    run_each(&places);
    for step in [DAY_US, -2 * DAY_US] {
        watched.clock.advance(Duration::from_secs(2));
        watched.clock.step_wall(step);
        let (status, body) = watched.ready().await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(of(&body, "dispatcher")["condition"], "fine");
    }
    let (_, body) = watched.ready().await;
    assert_eq!(of(&body, "dispatcher")["last_run_seconds_ago"], 4);
}

#[tokio::test]
async fn metrics_tell_each_loops_runs_and_age() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let watched = Watched::start(Some(recorder.handle())).await;
    let place = watched.app.loops.take(Loop::Retention);
    drop(place.begin());
    watched.clock.advance(Duration::from_secs(7));
    let (status, text) = watched.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    let at = 20_000 * DAY_US / 1_000_000;
    for line in [
        "fleetwright_loop_runs_total{loop=\"retention\"} 1".to_owned(),
        "fleetwright_loop_last_run_age_seconds{loop=\"retention\"} 7".to_owned(),
        format!("fleetwright_loop_last_run_timestamp_seconds{{loop=\"retention\"}} {at}"),
        "fleetwright_loop_period_seconds{loop=\"retention\"} 900".to_owned(),
        "fleetwright_loop_late{loop=\"retention\"} 0".to_owned(),
        "fleetwright_loop_runs_total{loop=\"dispatcher\"} 0".to_owned(),
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no `{line}` in\n{text}"
        );
    }
}
