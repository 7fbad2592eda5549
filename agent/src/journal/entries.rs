//! What the records of a journal add up to: one entry per command. Pure; an illegal step is an error, so that a
//! journal that tells an impossible story is found out when it is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use fleetwright_protocol::frame::{JournalEntry, JournalState};
use fleetwright_protocol::{CommandId, NotStartedReason, Outcome};

use super::held::{Held, Share};
use super::record::{ClosedAs, Execution, Record};

/// Closed commands are remembered this long after they expire: a day of clock error is forgiven.
const TOMBSTONE_GRACE_MS: u64 = 24 * 3600 * 1_000;
/// Tombstones kept at most, some 4 MB of memory; far more than a host sees in two days.
const TOMBSTONES_MAX: usize = 30_000;

#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Waiting for its turn.
    Received,
    /// The start was decided in this boot; nothing is known to run yet.
    Starting {
        boot_id: Box<str>,
        execution: Execution,
    },
    /// A supervisor with this pid and start time (clock ticks since boot) runs it.
    Started {
        boot_id: Box<str>,
        execution: Execution,
        pid: u32,
        start_ticks: u64,
    },
    /// Ended, and the server has not said yet that it knows.
    Exited(Arc<Outcome>),
    /// Provably not started, and the server has not said yet that it knows.
    NotStarted(NotStartedReason),
    /// The server knows the end.
    Closed(ClosedAs),
    /// Cancelled before it ever came.
    CancelledUnseen,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// 0 only for `CancelledUnseen`.
    pub attempt: u32,
    pub expires_unix_ms: u64,
    /// No attempt of it may start any more.
    pub cancelled: bool,
    pub state: State,
}

/// A record that cannot follow what came before it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record of command {0} does not follow from the ones before it")]
pub struct ImpossibleRecord(pub CommandId);

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entries {
    by_id: BTreeMap<CommandId, Entry>,
    held: Held,
}

impl Entries {
    pub fn get(&self, command_id: CommandId) -> Option<&Entry> {
        self.by_id.get(&command_id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (CommandId, &Entry)> {
        self.by_id.iter().map(|(id, entry)| (*id, entry))
    }

    /// The entries that still need something said or done, as `hello` lists them.
    pub fn open(&self) -> Vec<JournalEntry> {
        self.iter()
            .filter_map(|(command_id, entry)| {
                let state = match entry.state {
                    // A supervisor that has not been told to go has started nothing.
                    State::Received
                    | State::Starting {
                        execution: Execution::Supervised | Execution::Power(_) | Execution::Plan(_),
                        ..
                    } => JournalState::Received,
                    State::Starting {
                        execution: Execution::InProcess,
                        ..
                    }
                    | State::Started { .. } => JournalState::Started,
                    State::Exited(_) => JournalState::Exited,
                    State::NotStarted(_) => JournalState::NotStarted,
                    State::Closed(_) | State::CancelledUnseen => return None,
                };
                Some(JournalEntry {
                    command_id,
                    attempt: entry.attempt,
                    state: state.into(),
                })
            })
            .collect()
    }

    /// Whether so much waits for an acknowledgement that nothing more is taken on.
    pub fn is_full(&self) -> bool {
        self.held.is_full()
    }

    /// Takes one record in.
    pub fn apply(&mut self, record: &Record) -> Result<(), ImpossibleRecord> {
        let command_id = record.command_id();
        self.uncount(command_id);
        let taken = self.take_in(record);
        self.count(command_id);
        if let Some(forgotten) = self.held.excess_cancel() {
            self.uncount(forgotten);
            self.by_id.remove(&forgotten);
        }
        taken
    }

    fn count(&mut self, command_id: CommandId) {
        if let Some(entry) = self.by_id.get(&command_id) {
            self.held.add(command_id, &share(entry));
        }
    }

    fn uncount(&mut self, command_id: CommandId) {
        if let Some(entry) = self.by_id.get(&command_id) {
            self.held.remove(command_id, &share(entry));
        }
    }

    fn take_in(&mut self, record: &Record) -> Result<(), ImpossibleRecord> {
        match record {
            Record::Received {
                command_id,
                attempt,
                expires_unix_ms,
            } => self.open_attempt(*command_id, *attempt, *expires_unix_ms, State::Received),
            Record::NotStarted {
                command_id,
                attempt,
                expires_unix_ms,
                reason,
            } => self.not_started(*command_id, *attempt, *expires_unix_ms, *reason),
            Record::Starting {
                command_id,
                attempt,
                boot_id,
                execution,
            } => self.step(*command_id, *attempt, |state| {
                state.after_starting(boot_id, *execution)
            }),
            Record::Started { .. } | Record::Resumed { .. } => self.supervised(record),
            Record::Exited {
                command_id,
                attempt,
                outcome,
            } => self.step(*command_id, *attempt, |state| state.after_exited(outcome)),
            Record::Acked {
                command_id,
                attempt,
            } => self.step(*command_id, *attempt, State::after_acked),
            Record::Cancelled {
                command_id,
                expires_unix_ms,
            } => {
                self.by_id
                    .entry(*command_id)
                    .or_insert(Entry {
                        attempt: 0,
                        expires_unix_ms: *expires_unix_ms,
                        cancelled: true,
                        state: State::CancelledUnseen,
                    })
                    .cancelled = true;
                Ok(())
            }
            Record::Tombstone {
                command_id,
                attempt,
                expires_unix_ms,
                closed,
            } => self.open_attempt(
                *command_id,
                *attempt,
                *expires_unix_ms,
                State::Closed(*closed),
            ),
        }
    }

    /// A supervisor exists.
    fn supervised(&mut self, record: &Record) -> Result<(), ImpossibleRecord> {
        self.step(
            record.command_id(),
            record.attempt(),
            |state| match record {
                Record::Started {
                    pid, start_ticks, ..
                } => state.after_started(*pid, *start_ticks),
                Record::Resumed {
                    boot_id,
                    pid,
                    start_ticks,
                    ..
                } => state.after_resumed(boot_id, *pid, *start_ticks),
                Record::Received { .. }
                | Record::Starting { .. }
                | Record::Exited { .. }
                | Record::NotStarted { .. }
                | Record::Acked { .. }
                | Record::Cancelled { .. }
                | Record::Tombstone { .. } => None,
            },
        )
    }

    /// Puts entries back as they were, after a write that failed. Given in the order they were remembered.
    pub(super) fn restore(&mut self, before: Vec<(CommandId, Option<Entry>)>) {
        for (command_id, entry) in before.into_iter().rev() {
            self.uncount(command_id);
            match entry {
                Some(entry) => self.by_id.insert(command_id, entry),
                None => self.by_id.remove(&command_id),
            };
            self.count(command_id);
        }
    }

    /// The shortest records that add up to these entries.
    pub fn to_records(&self) -> Vec<Record> {
        self.iter()
            .flat_map(|(id, entry)| entry_records(id, entry))
            .collect()
    }

    /// Drops what no server will ask about again: closed entries a day past their expiry, and the oldest expiries
    /// when there are too many. Returns how many were dropped.
    pub fn prune(&mut self, now_unix_ms: u64) -> usize {
        let before = self.by_id.len();
        self.by_id.retain(|_, entry| {
            !is_closed(&entry.state)
                || entry.expires_unix_ms.saturating_add(TOMBSTONE_GRACE_MS) > now_unix_ms
        });
        let mut closed: Vec<(u64, CommandId)> = self
            .iter()
            .filter(|(_, entry)| is_closed(&entry.state))
            .map(|(id, entry)| (entry.expires_unix_ms, id))
            .collect();
        if let Some(excess) = closed.len().checked_sub(TOMBSTONES_MAX) {
            closed.sort_unstable();
            for (_, id) in closed.into_iter().take(excess) {
                self.by_id.remove(&id);
            }
        }
        self.held = Held::default();
        for (command_id, entry) in &self.by_id {
            self.held.add(*command_id, &share(entry));
        }
        before - self.by_id.len()
    }

    fn open_attempt(
        &mut self,
        command_id: CommandId,
        attempt: u32,
        expires_unix_ms: u64,
        state: State,
    ) -> Result<(), ImpossibleRecord> {
        let cancelled = match self.by_id.get(&command_id) {
            None => false,
            Some(old) if follows(old, attempt) => old.cancelled,
            Some(_) => return Err(ImpossibleRecord(command_id)),
        };
        self.by_id.insert(
            command_id,
            Entry {
                attempt,
                expires_unix_ms,
                cancelled,
                state,
            },
        );
        Ok(())
    }

    fn not_started(
        &mut self,
        command_id: CommandId,
        attempt: u32,
        expires_unix_ms: u64,
        reason: NotStartedReason,
    ) -> Result<(), ImpossibleRecord> {
        let Some(entry) = self.by_id.get(&command_id) else {
            return self.open_attempt(
                command_id,
                attempt,
                expires_unix_ms,
                State::NotStarted(reason),
            );
        };
        if entry.attempt != attempt {
            return self.open_attempt(
                command_id,
                attempt,
                expires_unix_ms,
                State::NotStarted(reason),
            );
        }
        self.step(command_id, attempt, |state| match state {
            // A decided start may still be taken back, and a supervisor that was never told to go leaves proof that
            // nothing started.
            State::Received | State::Starting { .. } | State::Started { .. } => {
                Some(State::NotStarted(reason))
            }
            State::Exited(_) | State::NotStarted(_) | State::Closed(_) | State::CancelledUnseen => {
                None
            }
        })
    }

    fn step(
        &mut self,
        command_id: CommandId,
        attempt: u32,
        next: impl FnOnce(&State) -> Option<State>,
    ) -> Result<(), ImpossibleRecord> {
        let entry = self
            .by_id
            .get_mut(&command_id)
            .filter(|entry| entry.attempt == attempt)
            .ok_or(ImpossibleRecord(command_id))?;
        entry.state = next(&entry.state).ok_or(ImpossibleRecord(command_id))?;
        Ok(())
    }
}

/// Whether a new attempt may take the place of this entry: the last one must not have started.
fn follows(old: &Entry, attempt: u32) -> bool {
    match old.state {
        State::CancelledUnseen => true,
        State::NotStarted(_) | State::Closed(ClosedAs::NotStarted(_)) => attempt > old.attempt,
        State::Received
        | State::Starting { .. }
        | State::Started { .. }
        | State::Exited(_)
        | State::Closed(ClosedAs::Finished) => false,
    }
}

fn is_closed(state: &State) -> bool {
    match state {
        State::Closed(_) | State::CancelledUnseen => true,
        State::Received
        | State::Starting { .. }
        | State::Started { .. }
        | State::Exited(_)
        | State::NotStarted(_) => false,
    }
}

/// What the entry adds to what is held.
fn share(entry: &Entry) -> Share {
    match &entry.state {
        State::Received | State::Starting { .. } | State::Started { .. } | State::NotStarted(_) => {
            Share {
                open: true,
                ..Share::default()
            }
        }
        State::Exited(outcome) => Share::of_outcome(outcome),
        State::Closed(_) => Share::default(),
        State::CancelledUnseen => Share {
            unseen_until_unix_ms: Some(entry.expires_unix_ms),
            ..Share::default()
        },
    }
}

fn entry_records(command_id: CommandId, entry: &Entry) -> Vec<Record> {
    let attempt = entry.attempt;
    let expires_unix_ms = entry.expires_unix_ms;
    let received = Record::Received {
        command_id,
        attempt,
        expires_unix_ms,
    };
    let starting = |boot_id: &str, execution| Record::Starting {
        command_id,
        attempt,
        boot_id: boot_id.to_owned(),
        execution,
    };
    let mut records = match &entry.state {
        State::Received => vec![received],
        State::Starting { boot_id, execution } => vec![received, starting(boot_id, *execution)],
        State::Started {
            boot_id,
            execution,
            pid,
            start_ticks,
        } => vec![
            received,
            starting(boot_id, *execution),
            Record::Started {
                command_id,
                attempt,
                pid: *pid,
                start_ticks: *start_ticks,
            },
        ],
        State::Exited(outcome) => vec![
            received,
            Record::Exited {
                command_id,
                attempt,
                outcome: Box::new((**outcome).clone()),
            },
        ],
        State::NotStarted(reason) => {
            vec![Record::NotStarted {
                command_id,
                attempt,
                expires_unix_ms,
                reason: *reason,
            }]
        }
        State::Closed(closed) => {
            vec![Record::Tombstone {
                command_id,
                attempt,
                expires_unix_ms,
                closed: *closed,
            }]
        }
        State::CancelledUnseen => Vec::new(),
    };
    if entry.cancelled {
        records.push(Record::Cancelled {
            command_id,
            expires_unix_ms,
        });
    }
    records
}

/// What each record makes of the state before it; `None` where it cannot follow.
impl State {
    fn after_starting(&self, boot_id: &str, execution: Execution) -> Option<Self> {
        match self {
            Self::Received => Some(Self::Starting {
                boot_id: boot_id.into(),
                execution,
            }),
            Self::Starting { .. }
            | Self::Started { .. }
            | Self::Exited(_)
            | Self::NotStarted(_)
            | Self::Closed(_)
            | Self::CancelledUnseen => None,
        }
    }

    fn after_started(&self, pid: u32, start_ticks: u64) -> Option<Self> {
        match self {
            Self::Starting {
                boot_id,
                execution:
                    execution @ (Execution::Supervised | Execution::Power(_) | Execution::Plan(_)),
            } => Some(Self::Started {
                boot_id: boot_id.clone(),
                execution: *execution,
                pid,
                start_ticks,
            }),
            Self::Starting {
                execution: Execution::InProcess,
                ..
            }
            | Self::Received
            | Self::Started { .. }
            | Self::Exited(_)
            | Self::NotStarted(_)
            | Self::Closed(_)
            | Self::CancelledUnseen => None,
        }
    }

    fn after_resumed(&self, boot_id: &str, pid: u32, start_ticks: u64) -> Option<Self> {
        match self {
            Self::Started {
                execution: execution @ Execution::Plan(_),
                ..
            } => Some(Self::Started {
                boot_id: boot_id.into(),
                execution: *execution,
                pid,
                start_ticks,
            }),
            Self::Started {
                execution: Execution::Supervised | Execution::Power(_) | Execution::InProcess,
                ..
            }
            | Self::Received
            | Self::Starting { .. }
            | Self::Exited(_)
            | Self::NotStarted(_)
            | Self::Closed(_)
            | Self::CancelledUnseen => None,
        }
    }

    fn after_exited(&self, outcome: &Outcome) -> Option<Self> {
        match self {
            Self::Received | Self::Starting { .. } | Self::Started { .. } => {
                Some(Self::Exited(Arc::new(outcome.clone())))
            }
            Self::Exited(_) | Self::NotStarted(_) | Self::Closed(_) | Self::CancelledUnseen => None,
        }
    }

    fn after_acked(&self) -> Option<Self> {
        match self {
            Self::Exited(_) => Some(Self::Closed(ClosedAs::Finished)),
            Self::NotStarted(reason) => Some(Self::Closed(ClosedAs::NotStarted(*reason))),
            Self::Received
            | Self::Starting { .. }
            | Self::Started { .. }
            | Self::Closed(_)
            | Self::CancelledUnseen => None,
        }
    }
}

#[cfg(test)]
mod tests;
