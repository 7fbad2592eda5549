//! What a module is doing right now: requests in it, polls that have not come back, deadlines missed. Written by every
//! request, read by the watchdog and by whoever replaces the module.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::watch;

use crate::clock::SharedClock;

/// How a running module does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Good,
    /// Misses its deadline again and again.
    Degraded,
    /// A poll of it does not come back: its routes answer 503.
    Stuck,
}

/// Deadlines missed in a row that make a module degraded: one slow request is not yet a slow module.
const MISSES_MAX: u32 = 3;
/// The slot says that nothing is being polled.
const IDLE: i64 = i64::MIN;

/// Shared by a module's requests. Cheap to clone.
#[derive(Clone)]
pub struct Activity {
    observed: Arc<Observed>,
}

struct Observed {
    clock: SharedClock,
    last_call: AtomicU64,
    /// When the running poll of each call began, on the monotonic clock.
    polls: Mutex<HashMap<u64, Arc<AtomicI64>>>,
    requests: watch::Sender<usize>,
    misses: AtomicU32,
    health: AtomicU8,
}

impl Activity {
    pub fn new(clock: SharedClock) -> Self {
        let observed = Observed {
            clock,
            last_call: AtomicU64::new(0),
            polls: Mutex::default(),
            requests: watch::Sender::new(0),
            misses: AtomicU32::new(0),
            health: AtomicU8::new(0),
        };
        Self {
            observed: Arc::new(observed),
        }
    }

    /// Wraps a future of the module's, so that its polls are seen.
    pub fn watch<F: Future>(&self, future: F) -> Watched<F> {
        let call = self.observed.last_call.fetch_add(1, Ordering::Relaxed);
        let poll_began = Arc::new(AtomicI64::new(IDLE));
        self.polls().insert(call, Arc::clone(&poll_began));
        Watched {
            activity: self.clone(),
            call,
            poll_began,
            future: Some(Box::pin(future)),
        }
    }

    /// Counts a request until the guard is dropped.
    pub fn request(&self) -> RequestGuard {
        self.observed.requests.send_modify(|count| *count += 1);
        RequestGuard {
            activity: self.clone(),
        }
    }

    /// Answers when no request is in the module.
    pub async fn drained(&self) {
        let mut requests = self.observed.requests.subscribe();
        // The sender lives in `self`.
        let _ = requests.wait_for(|count| *count == 0).await;
    }

    /// Whether anybody but the asker still holds it: the module's own entry, a request, a future that has not been dropped.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.observed) > 1
    }

    /// How long the longest running poll has not come back, in µs.
    pub fn longest_poll_us(&self) -> i64 {
        let now_us = self.observed.clock.monotonic_us();
        let polls = self.polls();
        let began = polls
            .values()
            .map(|began| began.load(Ordering::Relaxed))
            .filter(|began| *began != IDLE);
        began.min().map_or(0, |began| now_us - began)
    }

    pub fn answered_in_time(&self) {
        self.observed.misses.store(0, Ordering::Relaxed);
    }

    pub fn missed_deadline(&self) {
        self.observed.misses.fetch_add(1, Ordering::Relaxed);
    }

    /// Decides the health again; returns it with what it was.
    pub fn judge(&self, stuck_after_us: i64) -> (Health, Health) {
        let now = if self.longest_poll_us() >= stuck_after_us {
            Health::Stuck
        } else if self.observed.misses.load(Ordering::Relaxed) >= MISSES_MAX {
            Health::Degraded
        } else {
            Health::Good
        };
        let before = self.observed.health.swap(now as u8, Ordering::Relaxed);
        (now, Health::from_number(before))
    }

    pub fn health(&self) -> Health {
        Health::from_number(self.observed.health.load(Ordering::Relaxed))
    }

    /// Nothing panics while it holds the lock.
    fn polls(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<AtomicI64>>> {
        self.observed
            .polls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Health {
    fn from_number(number: u8) -> Self {
        match number {
            number if number == Self::Stuck as u8 => Self::Stuck,
            number if number == Self::Degraded as u8 => Self::Degraded,
            _ => Self::Good,
        }
    }
}

/// A request in the module.
pub struct RequestGuard {
    activity: Activity,
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.activity
            .observed
            .requests
            .send_modify(|count| *count -= 1);
    }
}

/// A future whose polls, and whose drop, are seen.
pub struct Watched<F: Future> {
    activity: Activity,
    call: u64,
    poll_began: Arc<AtomicI64>,
    future: Option<Pin<Box<F>>>,
}

impl<F: Future> Watched<F> {
    fn timed<T>(&mut self, run: impl FnOnce(&mut Option<Pin<Box<F>>>) -> T) -> T {
        self.poll_began.store(
            self.activity.observed.clock.monotonic_us(),
            Ordering::Relaxed,
        );
        let result = run(&mut self.future);
        self.poll_began.store(IDLE, Ordering::Relaxed);
        result
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.timed(|future| match future {
            Some(future) => future.as_mut().poll(context),
            None => Poll::Pending,
        })
    }
}

impl<F: Future> Drop for Watched<F> {
    fn drop(&mut self) {
        self.timed(|future| *future = None);
        self.activity.polls().remove(&self.call);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    const LIMIT_US: i64 = 10_000_000;

    #[test]
    fn a_poll_that_does_not_come_back_makes_the_module_stuck_and_one_that_does_heals_it() {
        let clock = ManualClock::at(1_000);
        let activity = Activity::new(clock.clone());
        let (inside, looked) = (activity.clone(), clock.clone());
        let mut watched = Box::pin(activity.watch(async move {
            looked.advance(Duration::from_secs(10));
            inside.judge(LIMIT_US)
        }));
        let Poll::Ready((during, before)) = watched
            .as_mut()
            .poll(&mut Context::from_waker(std::task::Waker::noop()))
        else {
            panic!("it was ready");
        };
        assert_eq!((during, before), (Health::Stuck, Health::Good));
        assert_eq!(activity.judge(LIMIT_US), (Health::Good, Health::Stuck));
    }

    #[test]
    fn a_future_that_waits_is_not_stuck() {
        let clock = ManualClock::at(1_000);
        let activity = Activity::new(clock.clone());
        let mut waiting = Box::pin(activity.watch(std::future::pending::<()>()));
        assert!(
            waiting
                .as_mut()
                .poll(&mut Context::from_waker(std::task::Waker::noop()))
                .is_pending()
        );
        clock.advance(Duration::from_secs(60));
        assert_eq!(activity.judge(LIMIT_US).0, Health::Good);
    }

    #[test]
    fn deadlines_missed_in_a_row_degrade_and_an_answer_in_time_restores() {
        let activity = Activity::new(ManualClock::at(0));
        for _ in 0..MISSES_MAX {
            assert_eq!(activity.judge(LIMIT_US).0, Health::Good);
            activity.missed_deadline();
        }
        assert_eq!(activity.judge(LIMIT_US).0, Health::Degraded);
        activity.answered_in_time();
        assert_eq!(activity.judge(LIMIT_US).0, Health::Good);
    }

    #[tokio::test]
    async fn a_module_is_drained_when_its_last_request_has_left() {
        let activity = Activity::new(ManualClock::at(0));
        let request = activity.request();
        let mut drained = Box::pin(activity.drained());
        assert!(
            drained
                .as_mut()
                .poll(&mut Context::from_waker(std::task::Waker::noop()))
                .is_pending()
        );
        drop(request);
        drained.await;
    }
}
