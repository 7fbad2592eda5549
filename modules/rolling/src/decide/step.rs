//! What a decision comes to: to wait, or one write with what goes into the same transaction, and why. Not when it is taken.

use serde::Serialize;

use super::deployment::Deployment;
use super::tally::Tally;

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing before this time (µs), unless something changes.
    Wait {
        until_us: Option<i64>,
    },
    /// Find out which hosts had started, and ask again.
    GatherStarted,
    Take(Box<Step>),
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub deployment: Deployment,
    pub cause: Cause,
    pub effects: Vec<Effect>,
}

/// What is written beside the deployment, in the same transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Set(Target, SetChange),
    /// A batch begins.
    Dispatched {
        batch: u64,
        size: u64,
    },
    /// Every host of a batch is terminal.
    Finished {
        batch: u64,
        tally: Tally,
        skipped: u64,
    },
    /// The rollback's set is created, held.
    CreateRollback,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Deployment,
    Rollback,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetChange {
    /// The held hosts with these ordinals may start.
    Release {
        from: u64,
        to: u64,
    },
    Pause,
    Resume,
    /// Nothing new starts.
    Cancel {
        kill: bool,
        halted: bool,
    },
    /// Released hosts before this ordinal that have not started never will.
    GiveUp {
        below: u64,
    },
}

/// Why a step was taken; the trace shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    BatchDispatched {
        batch: u64,
    },
    HostsReleased {
        batch: u64,
    },
    BatchFinished {
        batch: u64,
    },
    HostsGivenUp {
        batch: u64,
    },
    FailureThresholdPassed {
        failed: u64,
        total: u64,
        threshold_pct: u64,
    },
    BatchFailureThresholdPassed {
        batch: u64,
        failed: u64,
        size: u64,
        threshold_pct: u64,
    },
    ApprovalRequired {
        batch: u64,
    },
    Approved {
        batch: u64,
    },
    PausedByOperator,
    ResumedByOperator {
        acknowledged: u64,
    },
    CancelledByOperator {
        kill: bool,
    },
    AllHostsFinished {
        succeeded: u64,
        total: u64,
    },
    Drained,
    /// The lease clock is behind where it was: what was waited for by it is waited for anew.
    ClockSetBack,
    RollbackStarted {
        hosts: u64,
    },
    RollbackDispatched {
        hosts: u64,
    },
    RollbackFinished {
        succeeded: u64,
        total: u64,
    },
}

pub(super) fn take(step: Step) -> Decision {
    Decision::Take(Box::new(step))
}
