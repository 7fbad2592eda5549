//! Failed enrolments per address: enough of them, and the address waits. Not for agents with a valid token, of which
//! thousands may sit behind one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Guesses an address has in each window. A token has 256 bits, so this only keeps the log and the database quiet.
const FAILURES_MAX: u32 = 20;
const WINDOW_US: i64 = 60 * 1_000_000;
/// Addresses remembered; when full, those whose window is over are forgotten, and a flood from more addresses than
/// this is not slowed any further.
const ADDRESSES_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub struct FailedAttempts {
    by_address: Mutex<HashMap<IpAddr, Window>>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    started_us: i64,
    failures: u32,
}

impl FailedAttempts {
    /// How many seconds the address must wait before it may try; `None` if it may now. `now_us` is monotonic.
    pub fn wait_seconds(&self, address: IpAddr, now_us: i64) -> Option<u64> {
        let windows = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let window = windows.get(&address)?;
        let left_us = window.started_us + WINDOW_US - now_us;
        let must_wait = window.failures >= FAILURES_MAX && left_us > 0;
        must_wait.then(|| u64::try_from(left_us / 1_000_000).unwrap_or_default() + 1)
    }

    pub fn failed(&self, address: IpAddr, now_us: i64) {
        let mut windows = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_over = |window: &Window| window.started_us + WINDOW_US <= now_us;
        if windows.len() >= ADDRESSES_MAX {
            windows.retain(|_, window| !is_over(window));
        }
        if windows.len() >= ADDRESSES_MAX && !windows.contains_key(&address) {
            return;
        }
        let fresh = Window {
            started_us: now_us,
            failures: 0,
        };
        let window = windows.entry(address).or_insert(fresh);
        if is_over(window) {
            *window = fresh;
        }
        window.failures = window.failures.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn an_address_that_fails_too_often_waits_for_the_window_to_end() {
        let attempts = FailedAttempts::default();
        let [bad, good] = [1, 2].map(|last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)));
        for _ in 0..FAILURES_MAX {
            assert_eq!(attempts.wait_seconds(bad, 0), None);
            attempts.failed(bad, 0);
        }
        assert_eq!(attempts.wait_seconds(bad, 0), Some(61));
        assert_eq!(attempts.wait_seconds(good, 0), None);
        assert_eq!(attempts.wait_seconds(bad, WINDOW_US), None);
        attempts.failed(bad, WINDOW_US);
        assert_eq!(attempts.wait_seconds(bad, WINDOW_US), None);
    }

    #[test]
    fn addresses_are_forgotten_when_there_are_too_many() {
        let attempts = FailedAttempts::default();
        for number in 0..=u32::try_from(ADDRESSES_MAX).unwrap() {
            attempts.failed(IpAddr::V4(Ipv4Addr::from_bits(number)), 0);
        }
        let remembered = |attempts: &FailedAttempts| attempts.by_address.lock().unwrap().len();
        assert_eq!(remembered(&attempts), ADDRESSES_MAX);
        attempts.failed(IpAddr::V4(Ipv4Addr::from_bits(0)), WINDOW_US);
        assert_eq!(remembered(&attempts), 1);
    }
}
