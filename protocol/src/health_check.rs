//! The check of a host that follows its operation, and how much time it adds. The host succeeds only if it passes.

use serde::{Deserialize, Serialize};

use crate::operation::ExecutionOptions;

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

/// How much a run's time limit grows by its health check. None is run in a dry run.
pub fn check_seconds(options: &ExecutionOptions) -> u64 {
    match &options.health_check {
        Some(check) if !options.dry_run => check.seconds(),
        Some(_) | None => 0,
    }
}

/// The time limit of the whole run: the operation's own and the check's. The agent ends the run by it, and the server
/// waits for the outcome by it.
pub fn run_seconds(operation_seconds: u64, options: &ExecutionOptions) -> u64 {
    operation_seconds.saturating_add(check_seconds(options))
}

/// The operation's own share of a run's time limit: the inverse of [`run_seconds`].
pub fn operation_seconds(run_seconds: u64, options: &ExecutionOptions) -> u64 {
    run_seconds.saturating_sub(check_seconds(options))
}

fn default_timeout_seconds() -> u64 {
    TIMEOUT_SECONDS_DEFAULT
}

fn default_interval_seconds() -> u64 {
    INTERVAL_SECONDS_DEFAULT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(check: HealthCheck, dry_run: bool) -> ExecutionOptions {
        ExecutionOptions {
            dry_run,
            health_check: Some(check),
            ..ExecutionOptions::default()
        }
    }

    #[test]
    fn a_check_adds_its_soak_and_every_try_to_the_run() {
        for (timeout_seconds, retries, interval_seconds, soak_seconds, expected) in [
            (30, 0, 10, 0, 30),
            (30, 0, 10, 60, 90),
            (5, 3, 10, 60, 60 + 5 + 3 * 15),
            (u64::MAX, u64::MAX, 1, 1, u64::MAX),
        ] {
            let check = HealthCheck {
                script: "true".into(),
                timeout_seconds,
                retries,
                interval_seconds,
                soak_seconds,
            };
            assert_eq!(check.seconds(), expected);
            let (wet, dry) = (options(check.clone(), false), options(check, true));
            assert_eq!(run_seconds(100, &wet), expected.saturating_add(100));
            assert_eq!(run_seconds(100, &dry), 100);
            assert_eq!(run_seconds(100, &ExecutionOptions::default()), 100);
        }
    }

    #[test]
    fn the_operations_share_is_what_was_put_in() {
        let check: HealthCheck =
            serde_json::from_str(r#"{"script": "true", "retries": 2}"#).unwrap();
        for options in [options(check.clone(), false), options(check, true)] {
            assert_eq!(operation_seconds(run_seconds(77, &options), &options), 77);
        }
    }
}
