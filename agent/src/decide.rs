//! What to do about a command, from what the journal knows of it. Pure: no clock, no disk, no processes.

use std::cmp::Ordering;

use fleetwright_protocol::NotStartedReason;

use crate::journal::{ClosedAs, Entry, Execution, PlanRun, PowerRun, State};

/// The time within which a command may start, counted on the boot-time clock from its receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub received_boot_ms: u64,
    pub start_within_ms: u64,
    pub ttl_ms: u64,
}

/// What to do with a command that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCommand {
    /// Take it on.
    Accept,
    /// It was cancelled before it came: it is never to start.
    RefuseCancelled,
    /// It is known: say again what became of it.
    SayAgain,
    /// An old frame that came late; a newer attempt is known.
    Ignore,
    /// An earlier attempt ran, or may: this one never does, and nobody can say what became of the command.
    Unknown,
}

/// What to do with a cancel that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCancel {
    /// Remember it for when the command comes.
    LeaveTombstone,
    /// It waits for its turn: it never gets one.
    TakeFromQueue,
    Kill,
    /// Nothing can be done; say again what became of it.
    SayAgain,
    /// It runs and may finish, or all is said.
    Nothing,
}

/// What runs, as far as it decides what may start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Busy {
    pub running: usize,
    /// One that changes the machine's power is among them: nothing starts until it is settled.
    pub barred: bool,
}

/// What became of a command's supervisor while the agent was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supervisor {
    Running,
    Gone,
}

/// What the folder of the run tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    None,
    /// An exit record of a supervisor that was never told to go.
    NeverStarted,
    /// Only of a restart or shutdown: it ended as one does that has told the machine.
    Asked,
    Ended,
}

/// What to do about an entry after a restart of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// It provably did not start.
    NotStarted,
    /// It still runs: wait for it.
    Adopt,
    /// It ended unseen; the record tells how.
    TakeExitRecord,
    /// Nobody knows. End what may be left of it and say so.
    OutcomeUnknown,
    /// The machine was to go, and has not gone yet.
    AwaitBoot(PowerRun),
    /// The machine was to go, and has been gone.
    Returned(PowerRun),
    /// A plan: its own log says what is known, and what may follow.
    GoOn(PlanRun),
    /// Nothing to do but to say it again.
    Keep,
}

impl Lease {
    /// Whether it may start now, and if not, why not.
    pub fn check(&self, now_boot_ms: u64) -> Result<(), NotStartedReason> {
        let waited_ms = now_boot_ms.saturating_sub(self.received_boot_ms);
        if waited_ms >= self.ttl_ms {
            Err(NotStartedReason::TtlExpired)
        } else if waited_ms >= self.start_within_ms {
            Err(NotStartedReason::LeaseExpired)
        } else {
            Ok(())
        }
    }

    /// The boot time at which it may no longer start.
    pub fn ends_boot_ms(&self) -> u64 {
        self.received_boot_ms
            .saturating_add(self.start_within_ms.min(self.ttl_ms))
    }
}

impl Busy {
    /// Counts one more.
    pub fn add(&mut self, is_barrier: bool) {
        self.running += 1;
        self.barred |= is_barrier;
    }

    /// Whether the next in line may start beside what runs.
    pub fn lets_start(&self, is_barrier: bool, slots: usize) -> bool {
        let room = if is_barrier {
            self.running == 0
        } else {
            self.running < slots
        };
        room && !self.barred
    }
}

pub fn on_command(entry: Option<&Entry>, attempt: u32) -> OnCommand {
    let Some(entry) = entry else {
        return OnCommand::Accept;
    };
    match &entry.state {
        State::CancelledUnseen => OnCommand::RefuseCancelled,
        State::NotStarted(_) | State::Closed(ClosedAs::NotStarted(_))
            if attempt > entry.attempt =>
        {
            if entry.cancelled {
                OnCommand::RefuseCancelled
            } else {
                OnCommand::Accept
            }
        }
        // A higher attempt of one that started, or still may, is never run: only the server's loss of memory sends it.
        State::Received
        | State::Starting { .. }
        | State::Started { .. }
        | State::Exited(_)
        | State::NotStarted(_)
        | State::Closed(_) => {
            // A refused start whose record a failing disk kept after all is found as one, too: without an answer for
            // this attempt the server would wait for it, and for the host, until the command's last deadline.
            match attempt.cmp(&entry.attempt) {
                Ordering::Less => OnCommand::Ignore,
                Ordering::Equal => OnCommand::SayAgain,
                Ordering::Greater => OnCommand::Unknown,
            }
        }
    }
}

pub fn on_cancel(entry: Option<&Entry>, kill: bool) -> OnCancel {
    let Some(entry) = entry else {
        return OnCancel::LeaveTombstone;
    };
    match &entry.state {
        State::Received => OnCancel::TakeFromQueue,
        State::Starting { .. } | State::Started { .. } => {
            if kill {
                OnCancel::Kill
            } else {
                OnCancel::Nothing
            }
        }
        State::Exited(_) => OnCancel::SayAgain,
        // A later attempt must not start either. One that is noted as cancelled needs no other note.
        State::NotStarted(_) | State::Closed(ClosedAs::NotStarted(_)) if entry.cancelled => {
            OnCancel::SayAgain
        }
        State::NotStarted(_) | State::Closed(ClosedAs::NotStarted(_)) => OnCancel::LeaveTombstone,
        State::Closed(ClosedAs::Finished) | State::CancelledUnseen => OnCancel::Nothing,
    }
}

/// `same_boot` says whether the machine has not been restarted since the entry's start.
pub fn recover(
    state: &State,
    same_boot: bool,
    supervisor: Supervisor,
    evidence: Evidence,
) -> Recovery {
    match state {
        State::Received => Recovery::NotStarted,
        State::Starting { execution, .. } => recover_starting(*execution, same_boot, evidence),
        State::Started {
            execution: Execution::Power(run),
            ..
        } => match (evidence, same_boot, supervisor) {
            (Evidence::Ended, _, _) => Recovery::TakeExitRecord,
            (Evidence::NeverStarted, _, _) => Recovery::NotStarted,
            (Evidence::None | Evidence::Asked, false, _) => Recovery::Returned(*run),
            (Evidence::None, true, Supervisor::Running) => Recovery::Adopt,
            (Evidence::None, true, Supervisor::Gone) | (Evidence::Asked, true, _) => {
                Recovery::AwaitBoot(*run)
            }
        },
        State::Started {
            execution: Execution::Plan(run),
            ..
        } => match (same_boot, supervisor) {
            (true, Supervisor::Running) => Recovery::Adopt,
            (true, Supervisor::Gone) | (false, _) => Recovery::GoOn(*run),
        },
        State::Started {
            execution: Execution::Supervised | Execution::InProcess,
            ..
        } => match (evidence, same_boot, supervisor) {
            (Evidence::Ended | Evidence::Asked, _, _) => Recovery::TakeExitRecord,
            (Evidence::NeverStarted, _, _) => Recovery::NotStarted,
            (Evidence::None, true, Supervisor::Running) => Recovery::Adopt,
            (Evidence::None, true, Supervisor::Gone) | (Evidence::None, false, _) => {
                Recovery::OutcomeUnknown
            }
        },
        State::Exited(_) | State::NotStarted(_) | State::Closed(_) | State::CancelledUnseen => {
            Recovery::Keep
        }
    }
}

/// Of one whose start was decided, and of which no supervisor is noted.
fn recover_starting(execution: Execution, same_boot: bool, evidence: Evidence) -> Recovery {
    match execution {
        Execution::InProcess => Recovery::OutcomeUnknown,
        Execution::Supervised => match evidence {
            Evidence::Ended | Evidence::Asked => Recovery::TakeExitRecord,
            Evidence::NeverStarted => Recovery::NotStarted,
            // A supervisor is told to go only after its record is written, which a crash of the agent does not undo
            // but a crash of the machine does.
            Evidence::None if same_boot => Recovery::NotStarted,
            Evidence::None => Recovery::OutcomeUnknown,
        },
        // Here the record is on disk before the word to go, so without it nothing was started.
        Execution::Plan(run) => match evidence {
            Evidence::Ended | Evidence::Asked => Recovery::GoOn(run),
            Evidence::NeverStarted | Evidence::None => Recovery::NotStarted,
        },
        Execution::Power(_) => match evidence {
            Evidence::Ended => Recovery::TakeExitRecord,
            Evidence::Asked => Recovery::OutcomeUnknown,
            Evidence::NeverStarted | Evidence::None => Recovery::NotStarted,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::PowerKind;
    use fleetwright_protocol::Outcome;
    use std::sync::Arc;

    fn power() -> Execution {
        Execution::Power(PowerRun {
            kind: PowerKind::Reboot,
            deadline_unix_ms: 1,
        })
    }

    fn plan() -> Execution {
        Execution::Plan(PlanRun {
            changes_power: true,
            deadline_unix_ms: 1,
        })
    }

    fn started(execution: Execution) -> State {
        State::Started {
            boot_id: "b".into(),
            execution,
            pid: 1,
            start_ticks: 1,
        }
    }

    fn states() -> Vec<State> {
        vec![
            State::Received,
            State::Starting {
                boot_id: "b".into(),
                execution: Execution::Supervised,
            },
            State::Starting {
                boot_id: "b".into(),
                execution: Execution::InProcess,
            },
            State::Starting {
                boot_id: "b".into(),
                execution: power(),
            },
            State::Starting {
                boot_id: "b".into(),
                execution: plan(),
            },
            started(plan()),
            started(Execution::Supervised),
            started(power()),
            State::Exited(Arc::new(Outcome::succeeded(true))),
            State::NotStarted(NotStartedReason::LeaseExpired),
            State::Closed(ClosedAs::Finished),
            State::Closed(ClosedAs::NotStarted(NotStartedReason::LeaseExpired)),
            State::CancelledUnseen,
        ]
    }

    fn entry(state: State, cancelled: bool) -> Entry {
        Entry {
            attempt: 2,
            expires_unix_ms: 0,
            cancelled,
            state,
        }
    }

    #[test]
    fn a_lease_ends_at_the_earlier_of_start_and_life() {
        let lease = Lease {
            received_boot_ms: 1_000,
            start_within_ms: 60,
            ttl_ms: 100,
        };
        assert_eq!(lease.check(1_059), Ok(()));
        assert_eq!(lease.check(1_060), Err(NotStartedReason::LeaseExpired));
        assert_eq!(lease.check(1_100), Err(NotStartedReason::TtlExpired));
        assert_eq!(lease.ends_boot_ms(), 1_060);
        let short = Lease {
            ttl_ms: 10,
            ..lease
        };
        assert_eq!(short.check(1_010), Err(NotStartedReason::TtlExpired));
        assert_eq!(
            Lease {
                start_within_ms: u64::MAX,
                ttl_ms: u64::MAX,
                ..lease
            }
            .ends_boot_ms(),
            u64::MAX
        );
    }

    #[test]
    fn only_an_unknown_command_or_a_later_attempt_of_an_unstarted_one_is_accepted() {
        assert_eq!(on_command(None, 1), OnCommand::Accept);
        for state in states() {
            let unstarted = matches!(
                state,
                State::NotStarted(_) | State::Closed(ClosedAs::NotStarted(_))
            );
            for attempt in 1..=3 {
                let decided = on_command(Some(&entry(state.clone(), false)), attempt);
                assert_eq!(
                    decided == OnCommand::Accept,
                    unstarted && attempt == 3,
                    "{state:?} {attempt}"
                );
                let cancelled = on_command(Some(&entry(state.clone(), true)), attempt);
                assert_ne!(cancelled, OnCommand::Accept, "{state:?} {attempt}");
            }
        }
        assert_eq!(
            on_command(Some(&entry(State::Received, false)), 1),
            OnCommand::Ignore
        );
        let ran = entry(State::Closed(ClosedAs::Finished), false);
        assert_eq!(on_command(Some(&ran), 2), OnCommand::SayAgain);
        assert_eq!(on_command(Some(&ran), 3), OnCommand::Unknown);
        assert_eq!(
            on_command(Some(&entry(State::CancelledUnseen, true)), 9),
            OnCommand::RefuseCancelled
        );
    }

    #[test]
    fn a_cancel_stops_what_waits_and_kills_only_on_request() {
        assert_eq!(on_cancel(None, true), OnCancel::LeaveTombstone);
        assert_eq!(
            on_cancel(Some(&entry(State::Received, false)), false),
            OnCancel::TakeFromQueue
        );
        let started = entry(started(Execution::Supervised), false);
        assert_eq!(on_cancel(Some(&started), false), OnCancel::Nothing);
        assert_eq!(on_cancel(Some(&started), true), OnCancel::Kill);
    }

    #[test]
    fn after_a_restart_nothing_is_called_unstarted_without_proof() {
        for state in states() {
            for same_boot in [true, false] {
                for supervisor in [Supervisor::Running, Supervisor::Gone] {
                    for evidence in [
                        Evidence::None,
                        Evidence::NeverStarted,
                        Evidence::Asked,
                        Evidence::Ended,
                    ] {
                        let decided = recover(&state, same_boot, supervisor, evidence);
                        let proof = match &state {
                            State::Received => true,
                            State::Starting {
                                execution: Execution::Supervised,
                                ..
                            } => {
                                evidence == Evidence::NeverStarted
                                    || (evidence == Evidence::None && same_boot)
                            }
                            State::Starting {
                                execution: Execution::Power(_) | Execution::Plan(_),
                                ..
                            } => matches!(evidence, Evidence::NeverStarted | Evidence::None),
                            // Its log tells what was begun, whatever the last supervisor was told.
                            State::Started {
                                execution: Execution::Plan(_),
                                ..
                            } => false,
                            State::Started { .. } => evidence == Evidence::NeverStarted,
                            _ => false,
                        };
                        assert_eq!(
                            decided == Recovery::NotStarted,
                            proof,
                            "{state:?} {same_boot} {evidence:?}"
                        );
                        if decided == Recovery::Adopt {
                            assert!(same_boot && supervisor == Supervisor::Running);
                        }
                        let told =
                            matches!(decided, Recovery::AwaitBoot(_) | Recovery::Returned(_));
                        assert!(!told || state == started(power()), "{state:?}");
                        assert!(!told || matches!(decided, Recovery::AwaitBoot(_)) == same_boot);
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_runs_beside_a_change_of_the_machines_power() {
        for (running, barred, is_barrier, slots, expected) in [
            (0, false, false, 1, true),
            (1, false, false, 1, false),
            (1, false, false, 2, true),
            (0, false, true, 4, true),
            (1, false, true, 4, false),
            (1, true, false, 4, false),
            (1, true, true, 4, false),
        ] {
            let busy = Busy { running, barred };
            assert_eq!(busy.lets_start(is_barrier, slots), expected, "{busy:?}");
        }
        let mut busy = Busy::default();
        busy.add(false);
        assert!(!busy.barred && !busy.lets_start(true, 2) && busy.lets_start(false, 2));
        busy.add(true);
        assert!(busy.barred && busy.running == 2 && !busy.lets_start(false, 64));
    }
}
