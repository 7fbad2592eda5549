//! What somebody who is not let in is told: where every 402 of a Pro route comes from, its reasons and where to get what
//! is missing; and the 405, 503 and 504 beside it. Who is turned away, and when, is decided in `admit`.

use http::StatusCode;

use super::super::dispatch::CallFailure;
use super::super::loaded::Loaded;
use crate::http::Problem;

/// A module that is being replaced or started is back within seconds.
const RETRY_AFTER_SECONDS: u64 = 2;

/// 402.
pub fn unavailable(feature: &str, module: &str, reason: &str) -> Problem {
    Problem::feature_not_available(feature, module, reason)
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

/// 405, with the methods there are.
pub fn other_methods(methods: &[&str]) -> Problem {
    Problem::method_not_allowed(&methods.join(", "))
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
