//! A command set as the core keeps it: rows, what may be sent, what a control means for them. No deployment here.

use fleetwright_module_rolling::decide::{Counts, SetChange};

use crate::choices::Choices;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    Held,
    /// Released; `sent` ones may have started without anybody knowing.
    Queued {
        sent: bool,
    },
    Running,
    Succeeded,
    Failed,
    Unreachable,
    Skipped,
}

/// What a host does with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Succeeds,
    Fails,
    /// Never connects.
    Away,
    /// Takes the command and is not heard of again.
    Vanishes,
}

#[derive(Clone, Debug)]
pub struct Host {
    pub row: Row,
    pub fate: Fate,
    pub started: bool,
    /// The batch of the deployment it is in.
    pub batch: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Set {
    pub hosts: Vec<Host>,
    pub paused: bool,
    pub cancelled: bool,
    pub killed: bool,
    pub given_up_below: u64,
}

/// Why the core refuses a batch of writes.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused;

impl Host {
    pub fn is_open(&self) -> bool {
        matches!(self.row, Row::Queued { .. } | Row::Running)
    }

    pub fn is_terminal(&self) -> bool {
        !self.is_open() && self.row != Row::Held
    }
}

impl Set {
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            total: self.hosts.len() as u64,
            given_up_below: self.given_up_below,
            ..Counts::default()
        };
        for host in &self.hosts {
            match host.row {
                Row::Held => counts.held += 1,
                Row::Queued { .. } => counts.queued += 1,
                Row::Running => counts.running += 1,
                Row::Succeeded => counts.succeeded += 1,
                Row::Failed => counts.failed += 1,
                Row::Unreachable => {
                    counts.failed += 1;
                    counts.unreachable += 1;
                }
                Row::Skipped => counts.skipped += 1,
            }
        }
        counts
    }

    /// Applies a control, or refuses it as the core does.
    pub fn apply(&mut self, change: SetChange) -> Result<(), Refused> {
        let over = self.counts().is_finished();
        if over
            || (self.cancelled
                && !matches!(change, SetChange::Cancel { .. } | SetChange::GiveUp { .. }))
        {
            return Err(Refused);
        }
        match change {
            SetChange::Release { from, to } => {
                for host in
                    &mut self.hosts[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()]
                {
                    if host.row == Row::Held {
                        host.row = Row::Queued { sent: false };
                    }
                }
            }
            SetChange::Pause => self.paused = true,
            SetChange::Resume => self.paused = false,
            SetChange::Cancel { kill, .. } => {
                self.cancelled = true;
                self.killed |= kill;
            }
            SetChange::GiveUp { below } => self.given_up_below = self.given_up_below.max(below),
        }
        Ok(())
    }

    fn may_send(&self, ordinal: usize) -> bool {
        !self.paused && !self.cancelled && ordinal as u64 >= self.given_up_below
    }

    /// One thing happens to one host. Returns whether anything did, and the host if it has just started.
    pub fn stir(&mut self, ordinal: usize, choices: &mut Choices) -> (bool, Option<usize>) {
        let may_send = self.may_send(ordinal);
        let given_up = (ordinal as u64) < self.given_up_below;
        let (cancelled, killed) = (self.cancelled, self.killed);
        let host = &mut self.hosts[ordinal];
        let before = host.row;
        match host.row {
            Row::Held if cancelled => host.row = Row::Skipped,
            Row::Queued { sent: false } if cancelled => host.row = Row::Skipped,
            Row::Queued { sent: false } if given_up => host.row = Row::Unreachable,
            Row::Queued { sent: false } if may_send => match host.fate {
                Fate::Away => {}
                Fate::Vanishes | Fate::Succeeds | Fate::Fails => {
                    host.row = Row::Queued { sent: true }
                }
            },
            Row::Queued { sent: true } => match host.fate {
                // Nobody hears from it; its lease runs out, and then only giving up ends it.
                Fate::Vanishes if given_up => host.row = Row::Unreachable,
                Fate::Vanishes | Fate::Away => {}
                Fate::Succeeds | Fate::Fails => {
                    // What was delivered may start after a cancel, or prove that it did not.
                    if (cancelled || given_up) && choices.one_in(2) {
                        host.row = if cancelled {
                            Row::Skipped
                        } else {
                            Row::Unreachable
                        };
                    } else {
                        host.row = Row::Running;
                        host.started = true;
                        return (true, Some(ordinal));
                    }
                }
            },
            Row::Running => {
                host.row = if killed || host.fate == Fate::Fails {
                    Row::Failed
                } else {
                    Row::Succeeded
                };
            }
            Row::Held
            | Row::Queued { sent: false }
            | Row::Succeeded
            | Row::Failed
            | Row::Unreachable
            | Row::Skipped => {}
        }
        (host.row != before, None)
    }

    /// Its host is deleted from the inventory.
    pub fn delete(&mut self, ordinal: usize) {
        let host = &mut self.hosts[ordinal];
        match host.row {
            Row::Held | Row::Queued { .. } => host.row = Row::Skipped,
            Row::Running => host.row = Row::Failed,
            Row::Succeeded | Row::Failed | Row::Unreachable | Row::Skipped => {}
        }
    }
}
