//! What the threads of a worker share: the jobs in hand, whether it stops, and since when the server has not been heard.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::failure::Failure;

/// What a job's thread is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The job is held no more.
    Lost,
    /// The worker stops.
    Stop,
}

/// A claim of a job: the same job may be claimed again while an earlier claim of it is still ending.
pub type Claim = (String, i64);

struct Hand {
    notices: Sender<Notice>,
    group: Option<Pid>,
    /// To be named in heartbeats.
    is_held: bool,
}

struct State {
    hands: BTreeMap<Claim, Hand>,
    is_stopping: bool,
    /// All jobs have ended and none is claimed any more.
    is_closed: bool,
    is_beat_wanted: bool,
    failure: Option<Failure>,
    heard: Instant,
    /// Rises whenever a job ends.
    ended: u64,
    not_shipped: u64,
}

pub struct Floor {
    state: Mutex<State>,
    changed: Condvar,
}

impl Floor {
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State {
                hands: BTreeMap::new(),
                is_stopping: false,
                is_closed: false,
                is_beat_wanted: false,
                failure: None,
                heard: Instant::now(),
                ended: 0,
                not_shipped: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// A job is taken in hand. Who stops learns it at once.
    pub fn take(&self, claim: Claim) -> Receiver<Notice> {
        let (notices, receiver) = channel();
        let mut state = self.state();
        if state.is_stopping {
            // The receiver is here.
            let _ = notices.send(Notice::Stop);
        }
        let hand = Hand {
            notices,
            group: None,
            is_held: true,
        };
        state.hands.insert(claim, hand);
        receiver
    }

    pub fn set_group(&self, claim: &Claim, group: Option<Pid>) {
        if let Some(hand) = self.state().hands.get_mut(claim) {
            hand.group = group;
        }
    }

    /// It was given to a person: heartbeats name it no more, and its seat is still taken.
    pub fn hand_over(&self, claim: &Claim) {
        if let Some(hand) = self.state().hands.get_mut(claim) {
            hand.is_held = false;
        }
    }

    pub fn put_down(&self, claim: &Claim, is_shipped: bool) {
        let mut state = self.state();
        state.hands.remove(claim);
        state.ended += 1;
        state.not_shipped += u64::from(!is_shipped);
        self.changed.notify_all();
    }

    pub fn lose(&self, claim: &Claim) {
        if let Some(hand) = self.state().hands.get(claim).filter(|hand| hand.is_held) {
            // One that ends by itself listens no more.
            let _ = hand.notices.send(Notice::Lost);
        }
    }

    pub fn held(&self) -> Vec<Claim> {
        let state = self.state();
        let held = state.hands.iter().filter(|(_, hand)| hand.is_held);
        held.map(|(claim, _)| claim.clone()).collect()
    }

    pub fn in_hand(&self) -> usize {
        self.state().hands.len()
    }

    /// Nothing is claimed any more. Whether that is new.
    pub fn stop(&self) -> bool {
        let mut state = self.state();
        let is_new = !std::mem::replace(&mut state.is_stopping, true);
        if is_new {
            for hand in state.hands.values() {
                let _ = hand.notices.send(Notice::Stop);
            }
            self.changed.notify_all();
        }
        is_new
    }

    /// Stops because of this, unless something else was first.
    pub fn fail(&self, failure: Failure) {
        self.state().failure.get_or_insert(failure);
        self.stop();
    }

    pub fn is_stopping(&self) -> bool {
        self.state().is_stopping
    }

    /// Everything that jobs have started.
    pub fn kill(&self) {
        for group in self.state().hands.values().filter_map(|hand| hand.group) {
            // It may be gone.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    pub fn heard(&self) {
        self.state().heard = Instant::now();
    }

    pub fn silence(&self) -> Duration {
        self.state().heard.elapsed()
    }

    /// Until then, or until a job ends or the worker stops.
    pub fn rest(&self, at_most: Duration) {
        let state = self.state();
        let (ended, is_stopping) = (state.ended, state.is_stopping);
        let same = |state: &mut State| state.ended == ended && state.is_stopping == is_stopping;
        let _ = self.changed.wait_timeout_while(state, at_most, same);
    }

    /// A heartbeat is due now.
    pub fn want_beat(&self) {
        self.state().is_beat_wanted = true;
        self.changed.notify_all();
    }

    /// Until the next heartbeat is due; false: there is none any more.
    pub fn beat_due(&self, at_most: Duration) -> bool {
        let idle = |state: &mut State| !state.is_closed && !state.is_beat_wanted;
        let waited = self.changed.wait_timeout_while(self.state(), at_most, idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_beat_wanted = false;
        !state.is_closed
    }

    /// Waits for the end of every job.
    pub fn close(&self) {
        let busy = |state: &mut State| !state.hands.is_empty();
        let waited = self.changed.wait_while(self.state(), busy);
        waited.unwrap_or_else(PoisonError::into_inner).is_closed = true;
        self.changed.notify_all();
    }

    /// Why it stopped, if by a failure, and how many jobs did not ship.
    pub fn result(&self) -> (Option<Failure>, u64) {
        let mut state = self.state();
        (state.failure.take(), state.not_shipped)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_told_what_becomes_of_it_and_no_other() {
        let floor = Floor::new();
        let (old, new) = (("j".to_owned(), 1), ("j".to_owned(), 2));
        let (of_old, of_new) = (floor.take(old.clone()), floor.take(new.clone()));
        floor.lose(&old);
        assert_eq!(of_old.try_recv(), Ok(Notice::Lost));
        assert!(of_new.try_recv().is_err());
        floor.hand_over(&new);
        assert_eq!(floor.held(), std::slice::from_ref(&old));
        floor.lose(&new);
        assert!(of_new.try_recv().is_err());
        floor.put_down(&old, false);
        assert!(floor.stop() && !floor.stop());
        assert_eq!(of_new.try_recv(), Ok(Notice::Stop));
        let late = floor.take(old.clone());
        assert_eq!(late.try_recv(), Ok(Notice::Stop));
        floor.put_down(&old, true);
        floor.put_down(&new, true);
        floor.close();
        assert!(!floor.beat_due(Duration::from_secs(600)));
        assert_eq!(floor.result().1, 1);
    }
}
