//! What operators see of the server: logs and metrics. Nothing secret, no bodies, no scripts goes into either.

mod escape;

use std::time::Duration;

use http::Method;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat};

/// Bounds of the request histogram, in seconds: from an in-memory read to the request timeout.
const DURATION_BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("log.level: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    #[error("logging is already set up: {0}")]
    Logging(#[from] tracing_subscriber::util::TryInitError),
    #[error("metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

/// Logs to standard error from now on, in text or JSON.
pub fn start_logging(log: &Log) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&log.level)?;
    let registry = tracing_subscriber::registry().with(filter);
    match log.format {
        LogFormat::Text => {
            let layer = tracing_subscriber::fmt::layer()
                .with_ansi(false)
                .with_target(false)
                .with_writer(escape::stderr);
            registry.with(layer).try_init()?;
        }
        LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(escape::stderr);
            registry.with(layer).try_init()?;
        }
    }
    log_panics();
    Ok(())
}

/// Collects metrics from now on.
pub fn start_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(
            Matcher::Full("http_request_seconds".to_owned()),
            &DURATION_BUCKETS,
        )?
        .install_recorder()?;
    metrics::describe_counter!(
        "http_requests_total",
        "Requests by method, route and status."
    );
    metrics::describe_histogram!(
        "http_request_seconds",
        "Time to the response's head, by route."
    );
    metrics::describe_gauge!("fleetwright_agents_online", "Hosts with a live connection.");
    metrics::describe_counter!(
        "fleetwright_commands_finished_total",
        "Commands by their final status."
    );
    metrics::describe_counter!(
        "fleetwright_identity_conflicts_total",
        "Hosts locked because two machines were met with one identity."
    );
    describe_loops();
    Ok(handle)
}

fn describe_loops() {
    metrics::describe_counter!(
        "fleetwright_loop_runs_total",
        "Runs of a background loop that have ended."
    );
    metrics::describe_gauge!(
        "fleetwright_loop_late",
        "1 if a background loop has not run for several periods, is busy with one run for as long, or has ended."
    );
    metrics::describe_gauge!(
        "fleetwright_loop_period_seconds",
        "Between two runs of a background loop; absent for one that waits for work."
    );
    metrics::describe_gauge!(
        "fleetwright_loop_last_run_age_seconds",
        "Since a background loop's last run ended."
    );
    metrics::describe_gauge!(
        "fleetwright_loop_last_run_timestamp_seconds",
        "When a background loop's last run ended, in seconds since 1970."
    );
}

/// Counts an answered request. Every label is one of a closed set, because a series that was counted once is kept for
/// ever: `route` is a pattern of the router, and `status` what this server answers.
pub fn count_request(method: &Method, route: &str, status: u16, took: Duration) {
    let labels = [
        ("method", method_label(method).to_owned()),
        ("route", route.to_owned()),
        ("status", status.to_string()),
    ];
    metrics::counter!("http_requests_total", &labels).increment(1);
    let route = [("route", route.to_owned())];
    metrics::histogram!("http_request_seconds", &route).record(took.as_secs_f64());
}

/// The methods of RFC 9110 and 5789; a client may send any other word as one.
pub fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT",
    ];
    let known = KNOWN.into_iter().find(|known| *known == method.as_str());
    known.unwrap_or("other")
}

/// `status` is a command's terminal status.
pub fn count_commands_finished(status: &'static str, count: u64) {
    metrics::counter!("fleetwright_commands_finished_total", "status" => status).increment(count);
}

pub fn set_agents_online(count: usize) {
    // Far below 2^53: exact.
    metrics::gauge!("fleetwright_agents_online").set(count as f64);
}

/// A background loop, as it is when somebody asks.
pub struct LoopFigures {
    pub name: &'static str,
    pub period: Option<Duration>,
    pub runs: u64,
    /// Since its last run ended, on a clock that does not step; `None` before the first.
    pub age: Option<Duration>,
    /// The wall time to count the age back from.
    pub now_us: i64,
    pub is_late: bool,
}

pub fn set_loop(figures: &LoopFigures) {
    let name = figures.name;
    metrics::counter!("fleetwright_loop_runs_total", "loop" => name).absolute(figures.runs);
    let late = if figures.is_late { 1.0 } else { 0.0 };
    metrics::gauge!("fleetwright_loop_late", "loop" => name).set(late);
    if let Some(period) = figures.period {
        metrics::gauge!("fleetwright_loop_period_seconds", "loop" => name)
            .set(period.as_secs_f64());
    }
    if let Some(age) = figures.age {
        metrics::gauge!("fleetwright_loop_last_run_age_seconds", "loop" => name)
            .set(age.as_secs_f64());
        // Microseconds since 1970 are below 2^53: exact.
        let now_seconds = figures.now_us as f64 / 1e6;
        metrics::gauge!("fleetwright_loop_last_run_timestamp_seconds", "loop" => name)
            .set(now_seconds - age.as_secs_f64());
    }
}

/// A panic becomes a log line like everything else.
fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        let message = info.payload_as_str().unwrap_or("no message");
        tracing::error!(place, message, "panic");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_nobody_knows_is_no_label_of_its_own() {
        let long = format!("M{}", "X".repeat(50_000));
        for (method, label) in [
            ("GET", "GET"),
            ("DELETE", "DELETE"),
            ("get", "other"),
            ("PROPFIND", "other"),
            (long.as_str(), "other"),
        ] {
            let method = Method::from_bytes(method.as_bytes()).expect("a token");
            assert_eq!(method_label(&method), label);
        }
    }
}
