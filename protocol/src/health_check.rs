//! The check of a host that follows its operation. The host succeeds only if it passes. How much time it adds to the
//! operation's own is in `time_limit`.

use serde::{Deserialize, Serialize};

/// Long enough for a request to a local service that is still warming up.
const TIMEOUT_SECONDS_DEFAULT: u64 = 30;
/// A pause in which a service that is starting gets somewhere.
const INTERVAL_SECONDS_DEFAULT: u64 = 10;

/// A script that must exit with 0. It is run by `/bin/sh` with the account, folder and environment of the operation:
/// first `soak_seconds` after the operation has succeeded, then, while it fails, up to `retries` times more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    pub script: String,
    /// For one try; 1 to 86400, default 30.
    #[serde(default = "default_timeout_seconds")]
    pub timeout_seconds: u64,
    /// Tries after the first that failed; default 0.
    #[serde(default)]
    pub retries: u64,
    /// Between two tries; default 10.
    #[serde(default = "default_interval_seconds")]
    pub interval_seconds: u64,
    /// Between the operation and the first try; default 0.
    #[serde(default)]
    pub soak_seconds: u64,
}

impl HealthCheck {
    /// The longest time from the end of the operation to the end of the last try:
    /// soak + timeout + retries × (interval + timeout).
    pub fn seconds(&self) -> u64 {
        let again = self.interval_seconds.saturating_add(self.timeout_seconds);
        self.soak_seconds
            .saturating_add(self.timeout_seconds)
            .saturating_add(self.retries.saturating_mul(again))
    }
}

fn default_timeout_seconds() -> u64 {
    TIMEOUT_SECONDS_DEFAULT
}

fn default_interval_seconds() -> u64 {
    INTERVAL_SECONDS_DEFAULT
}
