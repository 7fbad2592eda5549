//! What a bulk operation is and may become, from its set's counters: status, progress, and which controls its state
//! allows. Pure. Not the delivery: that is the core's command set.

pub use fleetwright_operations::decide::{Counters, percent_tenths, progress};
use fleetwright_operations::decide::{Outcome, outcome};
use fleetwright_operations::status::OperationStatus;
use fleetwright_plugin_api::wire::{SetAction, SetView};
use serde::Serialize;
use utoipa::ToSchema;

/// The aggregate status. `succeeded`, `partial`, `failed` and `cancelled` never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// No host has started.
    Queued,
    Running,
    Succeeded,
    /// Finished, and not every host succeeded.
    Partial,
    /// Finished, and no host succeeded.
    Failed,
    /// Finished after an operator cancelled the whole operation, and that skipped at least one host.
    Cancelled,
}

impl Status {
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Succeeded,
        Self::Partial,
        Self::Failed,
        Self::Cancelled,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

impl From<Status> for OperationStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Queued => Self::Queued,
            Status::Running => Self::Running,
            Status::Succeeded => Self::Succeeded,
            Status::Partial => Self::Partial,
            Status::Failed => Self::Failed,
            Status::Cancelled => Self::Cancelled,
        }
    }
}

/// What the state of an operation lets an operator do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Hosts are dispatched as slots allow.
    Dispatching(Status),
    Paused,
    /// The whole operation was cancelled and some hosts are not terminal yet.
    Cancelling,
    Finished(Status),
}

impl Stage {
    /// The state as named in a refusal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dispatching(status) | Self::Finished(status) => status.as_str(),
            Self::Paused => "paused",
            Self::Cancelling => "cancelling",
        }
    }
}

/// What a control comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Apply(SetAction),
    /// It is already so.
    Nothing,
    /// The state forbids it.
    Refuse,
}

/// A control an operator asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Control {
    Pause,
    Resume,
    Cancel {
        kill: bool,
        hosts: Option<Vec<fleetwright_protocol::HostId>>,
    },
}

impl Control {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel { .. } => "cancel",
        }
    }

    /// Whether it is of single hosts, not of the whole operation.
    pub fn is_of_hosts(&self) -> bool {
        match self {
            Self::Pause | Self::Resume => false,
            Self::Cancel { hosts, .. } => hosts.is_some(),
        }
    }
}

/// The aggregate status of a set.
pub fn status(set: &SetView) -> Status {
    let started = set.running + set.succeeded + set.failed > 0;
    match (set.is_finished(), started) {
        (false, false) => Status::Queued,
        (false, true) => Status::Running,
        (true, _) if set.cancelled && set.skipped_cancelled > 0 => Status::Cancelled,
        (true, _) => match outcome(set.total, set.succeeded) {
            Outcome::Succeeded => Status::Succeeded,
            Outcome::Partial => Status::Partial,
            Outcome::Failed => Status::Failed,
        },
    }
}

/// How far along an operation is, for its controls.
pub fn stage(set: &SetView) -> Stage {
    if set.is_finished() {
        Stage::Finished(status(set))
    } else if set.cancelled {
        Stage::Cancelling
    } else if set.paused {
        Stage::Paused
    } else {
        Stage::Dispatching(status(set))
    }
}

/// Whether a control may be applied now, and how.
pub fn control(stage: Stage, asked: Control) -> Verdict {
    match (stage, asked) {
        (Stage::Finished(_), _) => Verdict::Refuse,
        (Stage::Dispatching(_), Control::Pause) => Verdict::Apply(SetAction::Pause),
        (Stage::Paused, Control::Pause) => Verdict::Nothing,
        (Stage::Cancelling, Control::Pause) => Verdict::Refuse,
        (Stage::Paused, Control::Resume) => Verdict::Apply(SetAction::Resume),
        (Stage::Dispatching(_) | Stage::Cancelling, Control::Resume) => Verdict::Refuse,
        // Everything not started is already being skipped; only killing what runs adds to that.
        (Stage::Cancelling, Control::Cancel { kill: false, .. }) => Verdict::Nothing,
        (
            Stage::Dispatching(_) | Stage::Paused | Stage::Cancelling,
            Control::Cancel { kill, hosts },
        ) => Verdict::Apply(SetAction::Cancel {
            kill,
            hosts,
            reason: "cancelled".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
