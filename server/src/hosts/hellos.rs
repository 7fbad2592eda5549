//! Hellos that wait to be stored together.

use std::sync::{Mutex, PoisonError};

use fleetwright_protocol::{HostId, JournalId};
use tokio::sync::oneshot;

use super::host::Reported;
use crate::db::DbError;

/// Hellos in one transaction: a few milliseconds of the writer's time.
const BATCH_MAX: usize = 128;

/// What `hello` brought to light.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HelloRecorded {
    /// The agent lost its journal: its open commands are `outcome_unknown`. This stays true until the caller has
    /// closed them and called `reports::save_journal_in` in the same transaction, so that a crash in between loses nothing.
    pub journal_changed: bool,
}

/// A hello that is not known to be what is stored.
#[derive(Clone)]
pub struct News {
    pub id: HostId,
    pub reported: Reported,
    pub journal: JournalId,
    pub digest: i64,
}

pub type Answer = oneshot::Sender<Result<HelloRecorded, DbError>>;

/// Hellos that wait to be stored. The first one starts a task that stores them all, batch after batch, and ends.
#[derive(Default)]
pub struct HelloQueue {
    state: Mutex<QueueState>,
}

#[derive(Default)]
struct QueueState {
    is_draining: bool,
    waiting: Vec<(News, Answer)>,
}

impl HelloQueue {
    /// Returns whether the caller must see to it that they are taken.
    pub fn put(&self, news: News, answer: Answer) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting.push((news, answer));
        !std::mem::replace(&mut state.is_draining, true)
    }

    /// Up to a batch of waiting hellos; with none left, the next one starts a new task.
    pub fn take(&self) -> Vec<(News, Answer)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let count = state.waiting.len().min(BATCH_MAX);
        state.is_draining = count > 0;
        state.waiting.drain(..count).collect()
    }
}
