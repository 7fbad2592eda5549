//! How long a run may take: the operation's own time and that of the health check that follows it.

use crate::operation::ExecutionOptions;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health_check::HealthCheck;

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
