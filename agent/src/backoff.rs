//! How long to wait before the next attempt. Pure: the random number is an argument.

use std::time::Duration;

/// The first wait is at most this long.
const FIRST_MS: u64 = 1_000;
/// No wait is longer unless the host's settings say so, so that a fleet is back within two minutes of its server.
pub const CAP_SECONDS_DEFAULT: u64 = 60;
/// A server that speaks another protocol will not change its mind soon.
const SLOW_MS: u64 = 300_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    cap_ms: u64,
    failures: u32,
}

impl Backoff {
    /// No wait of it is longer than this.
    pub fn up_to_seconds(cap_seconds: u64) -> Self {
        Self {
            cap_ms: cap_seconds.saturating_mul(1_000),
            failures: 0,
        }
    }

    /// After a failure: a wait anywhere in [0, cap], the cap doubling up to the longest. Full jitter spreads a fleet that
    /// lost its server at one moment. `chance` is uniform in [0, 1).
    pub fn next(&mut self, chance: f64) -> Duration {
        let cap_ms = FIRST_MS
            .saturating_mul(1 << self.failures.min(16))
            .min(self.cap_ms);
        self.failures = self.failures.saturating_add(1);
        share(cap_ms, chance)
    }

    /// After a refusal that only an upgrade changes: between two and a half and five minutes.
    pub fn slow(chance: f64) -> Duration {
        Duration::from_millis(SLOW_MS / 2) + share(SLOW_MS / 2, chance)
    }

    /// A connection stood.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

fn share(of_ms: u64, chance: f64) -> Duration {
    Duration::from_millis(of_ms).mul_f64(chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_doubles_up_to_a_minute_and_the_whole_range_is_used() {
        let mut backoff = Backoff::up_to_seconds(CAP_SECONDS_DEFAULT);
        let caps: Vec<u64> = (0..9).map(|_| backoff.next(1.0).as_secs()).collect();
        assert_eq!(caps, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff.next(0.0), Duration::ZERO);
        assert_eq!(backoff.next(0.5), Duration::from_secs(30));
        backoff.reset();
        assert_eq!(backoff.next(1.0), Duration::from_secs(1));
        for _ in 0..100 {
            assert!(backoff.next(1.0) <= Duration::from_secs(60));
        }
        assert!(Backoff::slow(0.0) >= Duration::from_secs(150));
    }

    #[test]
    fn a_host_may_be_told_to_wait_less() {
        let mut backoff = Backoff::up_to_seconds(3);
        let caps: Vec<u64> = (0..4).map(|_| backoff.next(1.0).as_secs()).collect();
        assert_eq!(caps, [1, 2, 3, 3]);
    }
}
