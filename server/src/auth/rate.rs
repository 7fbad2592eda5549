//! Rate limits, as a pure leaky bucket per key (GCRA): a key's state is one time, the instant its bucket will be
//! empty. Callers give the time.
//!
//! Whose bucket it is may come from anybody's bytes, so a key is a digest of fixed size, and there are so many at most.
//! When one more is needed, the emptiest bucket goes: whoever brings many new keys pushes out their own, and never a
//! full one, which is the one that holds somebody back.

use std::collections::{BTreeSet, HashMap};
use std::sync::{LazyLock, Mutex, PoisonError};

use rand::RngCore as _;
use sha2::{Digest as _, Sha256};

/// Keys remembered by one limit: about 6 MB, and more addresses than fail within a minute anywhere but in an attack.
const KEYS_MAX: usize = 50_000;
/// Empty buckets dropped for each one that is filled, so that memory goes back after a rush.
const DROPPED_AT_ONCE: usize = 2;

/// Whose bucket it is: 128 bits of a keyed digest, so that nobody outside can choose one that is somebody else's.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key([u8; 16]);

impl Key {
    /// Of texts in this order. Nothing of them is kept.
    pub fn of(parts: &[&str]) -> Self {
        static SECRET: LazyLock<[u8; 32]> = LazyLock::new(|| {
            let mut secret = [0; 32];
            rand::rng().fill_bytes(&mut secret);
            secret
        });
        let mut hash = Sha256::new_with_prefix(*SECRET);
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut key = [0; 16];
        // A prefix of a keyed hash of a text with its length before it is as good as the whole for telling keys apart.
        for (to, from) in key.iter_mut().zip(digest) {
            *to = from;
        }
        Self(key)
    }
}

/// A limit per key.
pub struct RateLimit {
    /// Between two requests at the steady rate.
    interval_us: i64,
    /// How far ahead of the steady rate a key may be.
    burst_us: i64,
    buckets: Mutex<Buckets>,
}

/// The same pairs twice: by key, and in the order in which they become empty.
#[derive(Default)]
struct Buckets {
    empty_at_us: HashMap<Key, i64>,
    by_time: BTreeSet<(i64, Key)>,
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
            buckets: Mutex::default(),
        }
    }

    /// Takes one. When there is none, says after how many whole seconds there will be.
    pub fn take(&self, key: Key, now_us: i64) -> Result<(), u64> {
        if self.interval_us == 0 {
            return Ok(());
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.drop_empty(now_us);
        let empty_at_us = buckets.empty_at_us.get(&key).copied().unwrap_or(now_us);
        let next_us = empty_at_us.max(now_us).saturating_add(self.interval_us);
        let ahead_us = next_us - now_us;
        if ahead_us > self.burst_us {
            return Err(seconds_until(ahead_us - self.burst_us));
        }
        buckets.set(key, next_us);
        Ok(())
    }

    /// Gives one back.
    pub fn refund(&self, key: Key) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(empty_at_us) = buckets.empty_at_us.get(&key).copied() {
            buckets.set(key, empty_at_us - self.interval_us);
        }
    }
}

impl Buckets {
    fn set(&mut self, key: Key, at_us: i64) {
        match self.empty_at_us.insert(key, at_us) {
            Some(before_us) => {
                self.by_time.remove(&(before_us, key));
            }
            None if self.empty_at_us.len() > KEYS_MAX => {
                if let Some((_, emptiest)) = self.by_time.pop_first() {
                    self.empty_at_us.remove(&emptiest);
                }
            }
            None => {}
        }
        self.by_time.insert((at_us, key));
    }

    fn drop_empty(&mut self, now_us: i64) {
        for _ in 0..DROPPED_AT_ONCE {
            let Some((at_us, key)) = self.by_time.first().copied() else {
                return;
            };
            if at_us > now_us {
                return;
            }
            self.by_time.pop_first();
            self.empty_at_us.remove(&key);
        }
    }
}

fn seconds_until(wait_us: i64) -> u64 {
    let seconds = wait_us.saturating_add(999_999) / 1_000_000;
    u64::try_from(seconds).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND_US: i64 = 1_000_000;

    fn key(text: &str) -> Key {
        Key::of(&[text])
    }

    #[test]
    fn a_burst_then_the_steady_rate_then_patience() {
        let limit = RateLimit::new(10, 60 * SECOND_US);
        let (a, b) = (key("a"), key("b"));
        for _ in 0..10 {
            assert_eq!(limit.take(a, 0), Ok(()));
        }
        assert_eq!(limit.take(a, 0), Err(6));
        limit.refund(a);
        assert_eq!(limit.take(a, 0), Ok(()), "what was given back can be taken");
        assert_eq!(limit.take(b, 0), Ok(()), "keys are apart");
        assert_eq!(limit.take(a, 6 * SECOND_US), Ok(()));
        assert_eq!(limit.take(a, 6 * SECOND_US), Err(6));
    }

    #[test]
    fn zero_is_no_limit() {
        let limit = RateLimit::new(0, SECOND_US);
        assert!((0..10_000).all(|_| limit.take(key("a"), 0).is_ok()));
    }

    #[test]
    fn keys_are_of_one_size_and_every_part_counts() {
        let long = "x".repeat(1_000_000);
        assert_eq!(size_of_val(&key(&long)), 16);
        let all = [
            Key::of(&["ab", "c"]),
            Key::of(&["a", "bc"]),
            Key::of(&["abc"]),
            Key::of(&["abc", ""]),
            key(&long),
        ];
        let apart: BTreeSet<Key> = all.into_iter().collect();
        assert_eq!(apart.len(), all.len());
        assert_eq!(key("a"), key("a"));
    }

    #[test]
    fn very_many_keys_are_bounded_and_loosen_nobody_elses_limit() {
        let limit = RateLimit::new(10, 60 * SECOND_US);
        let held = key("held back");
        while limit.take(held, 0).is_ok() {}
        for number in 0..KEYS_MAX + 1_000 {
            assert_eq!(limit.take(key(&number.to_string()), 0), Ok(()));
        }
        assert_eq!(limit.take(held, 0), Err(6), "its bucket is still full");
        let sizes = |limit: &RateLimit| {
            let buckets = limit.buckets.lock().expect("no panic");
            (buckets.empty_at_us.len(), buckets.by_time.len())
        };
        assert_eq!(sizes(&limit), (KEYS_MAX, KEYS_MAX));
        for number in 0..KEYS_MAX {
            let _ = limit.take(key(&format!("later {}", number % 7)), 600 * SECOND_US);
        }
        assert!(sizes(&limit).0 <= 7, "what is empty goes");
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
                taken += i64::from(limit.take(key("a"), now_us).is_ok());
            }
            let interval_us = (SECOND_US / i64::from(count)).max(1);
            prop_assert!(taken <= i64::from(count) + now_us / interval_us);
        }
    }
}
