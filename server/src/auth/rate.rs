//! Rate limits, as a pure leaky bucket per key (GCRA): a key's state is one time, the instant its bucket will be
//! empty. Callers give the time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Keys remembered; those whose bucket is empty are dropped first. 100,000 cost about 10 MB.
const KEYS_MAX: usize = 100_000;

/// A limit per key.
pub struct RateLimit {
    /// Between two requests at the steady rate.
    interval_us: i64,
    /// How far ahead of the steady rate a key may be.
    burst_us: i64,
    empty_at_us: Mutex<HashMap<String, i64>>,
}

impl RateLimit {
    /// `count` per `period_us`, and as many at once. A count of 0 is no limit.
    pub fn new(count: u32, period_us: i64) -> Self {
        let interval_us = match i64::from(count) {
            0 => 0,
            count => (period_us / count).max(1),
        };
        Self {
            interval_us,
            burst_us: interval_us.saturating_mul(count.into()),
            empty_at_us: Mutex::default(),
        }
    }

    /// Takes one. When there is none, says after how many whole seconds there will be.
    pub fn take(&self, key: &str, now_us: i64) -> Result<(), u64> {
        if self.interval_us == 0 {
            return Ok(());
        }
        let mut keys = self
            .empty_at_us
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let empty_at_us = keys.get(key).copied().unwrap_or(now_us).max(now_us);
        let next_us = empty_at_us.saturating_add(self.interval_us);
        let ahead_us = next_us - now_us;
        if ahead_us > self.burst_us {
            return Err(seconds_until(ahead_us - self.burst_us));
        }
        if keys.len() >= KEYS_MAX && !keys.contains_key(key) {
            forget(&mut keys, now_us);
        }
        match keys.get_mut(key) {
            Some(slot) => *slot = next_us,
            None => {
                keys.insert(key.to_owned(), next_us);
            }
        }
        Ok(())
    }

    /// Gives one back.
    pub fn refund(&self, key: &str) {
        let mut keys = self
            .empty_at_us
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(empty_at_us) = keys.get_mut(key) {
            *empty_at_us -= self.interval_us;
        }
    }
}

fn seconds_until(wait_us: i64) -> u64 {
    let seconds = wait_us.saturating_add(999_999) / 1_000_000;
    u64::try_from(seconds).unwrap_or(1).max(1)
}

/// Drops empty buckets; if none is empty, everything: a limit that forgets is better than one that grows.
fn forget(keys: &mut HashMap<String, i64>, now_us: i64) {
    keys.retain(|_, empty_at_us| *empty_at_us > now_us);
    if keys.len() >= KEYS_MAX {
        keys.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND_US: i64 = 1_000_000;

    #[test]
    fn a_burst_then_the_steady_rate_then_patience() {
        let limit = RateLimit::new(10, 60 * SECOND_US);
        for _ in 0..10 {
            assert_eq!(limit.take("a", 0), Ok(()));
        }
        assert_eq!(limit.take("a", 0), Err(6));
        limit.refund("a");
        assert_eq!(
            limit.take("a", 0),
            Ok(()),
            "what was given back can be taken"
        );
        assert_eq!(limit.take("b", 0), Ok(()), "keys are apart");
        assert_eq!(limit.take("a", 6 * SECOND_US), Ok(()));
        assert_eq!(limit.take("a", 6 * SECOND_US), Err(6));
    }

    #[test]
    fn zero_is_no_limit() {
        let limit = RateLimit::new(0, SECOND_US);
        assert!((0..10_000).all(|_| limit.take("a", 0).is_ok()));
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_burst_and_rate_allow(
            count in 1_u32..50,
            steps_us in prop::collection::vec(0_i64..200_000, 1..300),
        ) {
            let limit = RateLimit::new(count, SECOND_US);
            let (mut now_us, mut taken) = (0, 0_i64);
            for step_us in steps_us {
                now_us += step_us;
                taken += i64::from(limit.take("a", now_us).is_ok());
            }
            let interval_us = (SECOND_US / i64::from(count)).max(1);
            prop_assert!(taken <= i64::from(count) + now_us / interval_us);
        }
    }
}
