//! What somebody who is not let in is told: where every 402 of a Pro route comes from, with its reasons; and the 503
//! and 504 beside it. Who is turned away, and when, is decided in `admit`.

use http::StatusCode;

use super::super::dispatch::CallFailure;
use super::super::loaded::Loaded;
use super::super::providers::Absence;
use crate::http::Problem;
use crate::licensing::Reason;

/// A module that is being replaced or started is back within seconds.
const RETRY_AFTER_SECONDS: u64 = 2;

/// 402: nobody serves the route (`module_not_installed`, `module_failed`).
pub fn missing(feature: &str, module: &str, absence: Absence) -> Problem {
    Problem::feature_not_available(feature, module, absence.as_str())
}

/// 402: the module is there and may not be used (`not_licensed`, `license_expired`, `host_limit_exceeded`).
pub fn unlicensed(feature: &str, module: &str, reason: Reason) -> Problem {
    Problem::feature_not_available(feature, module, reason.as_str())
}

/// 503: it is being replaced or started, or it hangs.
pub fn not_serving(loaded: &Loaded) -> Problem {
    let detail = format!(
        "The module {} is not serving at the moment.",
        loaded.info.name
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
        .with_retry_after(RETRY_AFTER_SECONDS)
}

/// 504, or 500 where the module is at fault.
pub fn unanswered(failure: CallFailure) -> Problem {
    match failure {
        CallFailure::Deadline => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "deadline-exceeded",
            "The module did not answer within 30 s.",
        ),
        CallFailure::Lost => Problem::internal_silent(),
    }
}
