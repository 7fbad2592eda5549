//! The API's limits on requests. Each number is promised in the API's description.

use std::time::Duration;

use http::StatusCode;

use super::Problem;

pub const URI_BYTES_MAX: usize = 8 * 1024;
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// A module has 30 s and answers for itself; this catches a dispatcher that does not.
pub const FLEET_TIMEOUT: Duration = Duration::from_secs(35);
/// An upload of 32 MiB over a slow line.
pub const BLOB_TIMEOUT: Duration = Duration::from_secs(600);

/// 429.
pub fn rate_limited(retry_after_seconds: u64) -> Problem {
    let detail = "Too many requests. Try again after the time in Retry-After.";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", detail)
        .with_retry_after(retry_after_seconds)
}
