//! What a report, a deadline, a reconnect or a deletion does to one command. Pure: state in, state out, and what
//! the caller must do. Every status change in the program goes through here, so terminal states never change.

use fleetwright_plugin_api::wire::CommandStatus;
use fleetwright_protocol::frame::JournalState;
use fleetwright_protocol::limits::START_WITHIN_MS;
use fleetwright_protocol::outcome::{FailureReason, NotStartedReason, Outcome, OutcomeStatus};
use fleetwright_protocol::{Open, OperationType};

use crate::clock::Now;

/// A started run may report this long after its time limit before its outcome counts as unknown; the same
/// allowance after `expires + timeout` bounds every row's life.
pub const OUTCOME_GRACE_US: i64 = 120 * 1_000_000;
/// A slot is freed this long after the start lease ran out unheard.
pub const LEASE_GRACE_US: i64 = 30 * 1_000_000;
/// An agent that could not start in time, had no disk, or a reason of its own, is not asked again at once.
const BUSY_PAUSE_US: i64 = 1_000_000;
const LONG_PAUSE_US: i64 = 30 * 1_000_000;

/// The part of a command's row that decisions read and change. Times are µs: what is shown to people by the wall clock,
/// what is waited for by the lease clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandState {
    pub status: CommandStatus,
    pub reason: Option<&'static str>,
    pub attempt: u32,
    pub cancel_requested: bool,
    pub kill_requested: bool,
    /// When this attempt was handed to a connection, by the wall clock.
    pub sent_at: Option<i64>,
    /// Whether it holds one of the set's slots.
    pub slot: bool,
    /// By the lease clock.
    pub due_at: Option<i64>,
    pub started_at: Option<i64>,
    pub finished_at: Option<i64>,
    // Of the set, unchanging:
    /// By the lease clock.
    pub expires_at: i64,
    pub timeout_us: i64,
    pub operation_type: OperationType,
    pub cancel_reason: &'static str,
    /// The set is cancelled as of now: what turns out not to have started does not start again.
    pub set_cancelled: bool,
    /// The host has had its time to start: what turns out not to have started does not start again.
    pub given_up: bool,
}

/// What an agent says about one command.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation<'a> {
    Started {
        attempt: u32,
    },
    NotStarted {
        attempt: u32,
        reason: Open<NotStartedReason>,
    },
    Finished {
        attempt: u32,
        outcome: &'a Outcome,
    },
    /// The host's connection has ended, and not because the server wanted it to.
    HostGone,
    /// A new connection's `hello`: what its journal holds of this command, if anything.
    Journal {
        attempt: Option<(u32, Open<JournalState>)>,
        journal_changed: bool,
    },
}

/// What follows from a decision, beside the changed state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reaction {
    /// The result is this command's outcome: store it with its output.
    pub store_outcome: bool,
    /// The result came after the row was terminal: keep it beside, move nothing.
    pub late: bool,
    /// The command waits again; not before this long from now.
    pub requeued_after_us: Option<i64>,
}

impl CommandState {
    /// When a command sent at `lease_us` must have been heard of.
    pub fn lease_due(lease_us: i64) -> i64 {
        lease_us
            + i64::try_from(START_WITHIN_MS).unwrap_or(i64::MAX / 2_000) * 1_000
            + LEASE_GRACE_US
    }

    /// The end of every patience: the row is terminal by then, whatever agents do.
    pub fn last_due(&self) -> i64 {
        self.expires_at + self.timeout_us + OUTCOME_GRACE_US
    }

    fn end(&mut self, status: CommandStatus, reason: Option<&'static str>, now: Now) {
        self.status = status;
        self.reason = reason;
        self.finished_at = Some(now.wall_us);
        self.due_at = None;
        self.slot = false;
    }

    fn start(&mut self, now: Now) {
        self.status = CommandStatus::Running;
        self.reason = None;
        self.started_at = Some(now.wall_us);
        self.due_at =
            Some((now.lease_us + self.timeout_us + OUTCOME_GRACE_US).min(self.last_due()));
        self.slot = true;
    }

    /// The last attempt provably did not start: wait for another, unless there is a reason not to.
    fn requeue(&mut self, now: Now, pause_us: i64) -> Reaction {
        if self.given_up && !self.set_cancelled {
            self.end(CommandStatus::Failed, Some("unreachable"), now);
        } else if self.cancel_requested || self.set_cancelled {
            self.end(CommandStatus::Skipped, Some(self.cancel_reason), now);
        } else if now.lease_us >= self.expires_at {
            self.end(CommandStatus::Skipped, Some("expired"), now);
        } else {
            self.attempt += 1;
            self.reason = None;
            self.sent_at = None;
            self.slot = false;
            self.due_at = None;
            return Reaction {
                requeued_after_us: Some(pause_us),
                ..Reaction::default()
            };
        }
        Reaction::default()
    }
}

/// Applies what an agent said.
pub fn on_report(state: &mut CommandState, report: &Observation<'_>, now: Now) -> Reaction {
    match report {
        Observation::Started { attempt } => {
            if state.status == CommandStatus::Queued && *attempt == state.attempt {
                state.start(now);
            }
            Reaction::default()
        }
        Observation::NotStarted { attempt, reason } => {
            on_not_started(state, *attempt, *reason, now)
        }
        Observation::Finished { attempt, outcome } => on_finished(state, *attempt, outcome, now),
        Observation::HostGone => {
            on_host_gone(state, now);
            Reaction::default()
        }
        Observation::Journal {
            attempt,
            journal_changed,
        } => on_journal(state, *attempt, *journal_changed, now),
    }
}

/// Applies a deadline that has passed (`due_at`).
pub fn on_due(state: &mut CommandState, now: Now) {
    match state.status {
        // Its lease ran out unheard: it cannot start any more, and nobody waits for it.
        CommandStatus::Queued if state.given_up => {
            state.end(CommandStatus::Failed, Some("unreachable"), now);
        }
        CommandStatus::Queued if state.slot => {
            state.slot = false;
            state.due_at = Some(state.last_due());
        }
        // The agent would have said so if the host were there: it went and did not come back.
        CommandStatus::Running if state.operation_type == OperationType::Reboot => {
            state.end(CommandStatus::Failed, Some("timed_out"), now);
        }
        CommandStatus::Queued | CommandStatus::Running => {
            state.end(CommandStatus::Failed, Some("outcome_unknown"), now);
        }
        CommandStatus::Held
        | CommandStatus::Succeeded
        | CommandStatus::Failed
        | CommandStatus::Skipped => state.due_at = None,
    }
}

/// Ends a command that provably has not started, for example because its set was cancelled or expired. One that
/// was sent is only asked to be cancelled. Returns whether the agent must be told.
pub fn on_cancel(state: &mut CommandState, kill: bool, now: Now) -> bool {
    match state.status {
        CommandStatus::Held => {
            state.end(CommandStatus::Skipped, Some(state.cancel_reason), now);
            false
        }
        CommandStatus::Queued if state.sent_at.is_none() => {
            state.end(CommandStatus::Skipped, Some(state.cancel_reason), now);
            false
        }
        CommandStatus::Queued => {
            state.cancel_requested = true;
            state.kill_requested |= kill;
            true
        }
        CommandStatus::Running => {
            state.kill_requested |= kill;
            state.cancel_requested |= kill;
            kill
        }
        CommandStatus::Succeeded | CommandStatus::Failed | CommandStatus::Skipped => false,
    }
}

/// Ends a command whose host has had its time to start. While it may still start, because its lease runs, the agent is
/// asked not to. Returns whether the agent must be told.
pub fn on_given_up(state: &mut CommandState, now: Now) -> bool {
    match state.status {
        CommandStatus::Queued if state.slot => {
            state.cancel_requested = true;
            true
        }
        CommandStatus::Queued => {
            state.end(CommandStatus::Failed, Some("unreachable"), now);
            false
        }
        CommandStatus::Held
        | CommandStatus::Running
        | CommandStatus::Succeeded
        | CommandStatus::Failed
        | CommandStatus::Skipped => false,
    }
}

/// Ends a command that was never sent when its time to live is over.
pub fn on_expired(state: &mut CommandState, now: Now) {
    let waiting = match state.status {
        CommandStatus::Held => true,
        CommandStatus::Queued => state.sent_at.is_none(),
        CommandStatus::Running
        | CommandStatus::Succeeded
        | CommandStatus::Failed
        | CommandStatus::Skipped => false,
    };
    if waiting {
        state.end(CommandStatus::Skipped, Some("expired"), now);
    }
}

/// Ends a command whose host is gone from the inventory. One that was sent may start, or have started, all the same: only
/// what cannot run counts as skipped.
pub fn on_host_deleted(state: &mut CommandState, now: Now) {
    match state.status {
        CommandStatus::Held => state.end(CommandStatus::Skipped, Some("host_deleted"), now),
        CommandStatus::Queued if state.sent_at.is_none() => {
            state.end(CommandStatus::Skipped, Some("host_deleted"), now);
        }
        CommandStatus::Queued | CommandStatus::Running => {
            state.end(CommandStatus::Failed, Some("host_deleted"), now);
        }
        CommandStatus::Succeeded | CommandStatus::Failed | CommandStatus::Skipped => {}
    }
}

/// A host that was to shut down, and had begun to, is not heard of any more: that is what was wanted. Of any other
/// command the agent will tell when it is back.
fn on_host_gone(state: &mut CommandState, now: Now) {
    let shuts_down = state.operation_type == OperationType::Shutdown;
    if shuts_down && state.status == CommandStatus::Running {
        state.end(CommandStatus::Succeeded, None, now);
    }
}

fn on_not_started(
    state: &mut CommandState,
    attempt: u32,
    reason: Open<NotStartedReason>,
    now: Now,
) -> Reaction {
    let was_sent = match state.status {
        CommandStatus::Queued => state.sent_at.is_some(),
        CommandStatus::Running => true,
        CommandStatus::Held
        | CommandStatus::Succeeded
        | CommandStatus::Failed
        | CommandStatus::Skipped => false,
    };
    if !was_sent || attempt != state.attempt {
        return Reaction::default();
    }
    // An agent says that it starts a command just before it does; killed in between, its journal proves later that
    // nothing ran.
    state.status = CommandStatus::Queued;
    state.started_at = None;
    let reason = match reason {
        Open::Known(reason) => reason,
        // That it did not start is proven; whether the reason passes is not known. Its expiry ends the asking.
        Open::Unknown(_) => return state.requeue(now, LONG_PAUSE_US),
    };
    match reason {
        NotStartedReason::Unsupported => {
            state.end(CommandStatus::Skipped, Some("unsupported"), now);
            Reaction::default()
        }
        NotStartedReason::TtlExpired => {
            state.end(CommandStatus::Skipped, Some("expired"), now);
            Reaction::default()
        }
        // Its cancel was asked for because nobody waits for it any more.
        NotStartedReason::Cancelled if state.given_up => state.requeue(now, 0),
        NotStartedReason::Cancelled => {
            state.end(CommandStatus::Skipped, Some(state.cancel_reason), now);
            Reaction::default()
        }
        NotStartedReason::LeaseExpired => state.requeue(now, BUSY_PAUSE_US),
        NotStartedReason::AgentRestarted => state.requeue(now, 0),
        NotStartedReason::DiskFull => {
            let reaction = state.requeue(now, LONG_PAUSE_US);
            if state.status == CommandStatus::Queued {
                // A person can do something about it.
                state.reason = Some("disk_full");
            }
            reaction
        }
    }
}

fn on_finished(state: &mut CommandState, attempt: u32, outcome: &Outcome, now: Now) -> Reaction {
    if state.status.is_terminal() || attempt != state.attempt {
        return Reaction {
            late: true,
            ..Reaction::default()
        };
    }
    if state.started_at.is_none() && outcome.reason != Some(FailureReason::RefusedByPolicy) {
        let duration_us = i64::try_from(outcome.duration_ms)
            .unwrap_or(0)
            .saturating_mul(1_000);
        state.started_at = Some(
            now.wall_us
                .saturating_sub(duration_us)
                .max(state.sent_at.unwrap_or(now.wall_us))
                // It was sent by a wall clock that has been set back since.
                .min(now.wall_us),
        );
    }
    match outcome.status {
        OutcomeStatus::Succeeded => state.end(CommandStatus::Succeeded, None, now),
        OutcomeStatus::Failed => {
            let reason = outcome.reason.map_or("agent_error", failure_name);
            state.end(CommandStatus::Failed, Some(reason), now);
        }
        // It is over, and not known how: that it went well is never guessed.
        OutcomeStatus::Unknown(_) => {
            state.end(CommandStatus::Failed, Some("outcome_unknown"), now);
        }
    }
    Reaction {
        store_outcome: true,
        ..Reaction::default()
    }
}

fn on_journal(
    state: &mut CommandState,
    entry: Option<(u32, Open<JournalState>)>,
    journal_changed: bool,
    now: Now,
) -> Reaction {
    let sent = match state.status {
        CommandStatus::Queued => state.sent_at.is_some(),
        CommandStatus::Running => true,
        CommandStatus::Held
        | CommandStatus::Succeeded
        | CommandStatus::Failed
        | CommandStatus::Skipped => false,
    };
    if !sent {
        return Reaction::default();
    }
    if journal_changed {
        state.end(CommandStatus::Failed, Some("outcome_unknown"), now);
        return Reaction::default();
    }
    let entry = entry
        .filter(|(attempt, _)| *attempt == state.attempt)
        .map(|(_, journal)| journal);
    match (state.status, entry) {
        (CommandStatus::Queued, Some(Open::Known(JournalState::Started))) => {
            state.start(now);
            Reaction::default()
        }
        // The journal is intact and has not heard of it: it never arrived.
        (CommandStatus::Queued, None) => state.requeue(now, 0),
        (CommandStatus::Running, None) => {
            state.end(CommandStatus::Failed, Some("outcome_unknown"), now);
            Reaction::default()
        }
        // What is not started is said again by itself, with the reason that decides what becomes of it. Of a state that
        // is not known here, what follows is said too: the command is in the journal, so it is not sent again.
        (
            _,
            Some(
                Open::Known(
                    JournalState::Received
                    | JournalState::Started
                    | JournalState::Exited
                    | JournalState::NotStarted,
                )
                | Open::Unknown(_),
            )
            | None,
        ) => Reaction::default(),
    }
}

fn failure_name(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::ExitCode => "exit_code",
        FailureReason::TimedOut => "timed_out",
        FailureReason::RefusedByPolicy => "refused_by_policy",
        FailureReason::Cancelled => "cancelled",
        FailureReason::OutcomeUnknown => "outcome_unknown",
        FailureReason::AgentError | FailureReason::Unknown(_) => "agent_error",
    }
}

/// Every reason a row may carry, so that stored text maps back to the same constants.
pub fn known_reason(text: &str) -> Option<&'static str> {
    const REASONS: [&str; 15] = [
        "disk_full",
        "not_approved",
        "offline",
        "unsupported",
        "host_deleted",
        "cancelled",
        "expired",
        "halted",
        "secret_unavailable",
        "exit_code",
        "timed_out",
        "unreachable",
        "refused_by_policy",
        "outcome_unknown",
        "agent_error",
    ];
    REASONS.into_iter().find(|reason| *reason == text)
}

#[cfg(test)]
mod tests;
