//! The states of a deployment and every legal move between them. A move consumes a state and gives the next, or says
//! why not. Not when a move is made: that is `step` and `control`.

use fleetwright_operations::decide::Outcome;
pub use fleetwright_operations::status::OperationStatus as Status;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a deployment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum State {
    /// Nothing was dispatched. A cancelled one waits for its hosts to be skipped.
    Queued {
        cancelling: bool,
    },
    Running,
    /// `batch` is not dispatched before someone approves it. A cancelled one waits for its hosts to be skipped.
    AwaitingApproval {
        batch: u64,
        cancelling: bool,
    },
    Paused {
        was: Was,
        cause: PauseCause,
    },
    /// The threshold was passed; hosts that run finish.
    Halting,
    /// Someone cancelled it; hosts that run finish.
    Cancelling,
    RollingBack {
        cancelling: bool,
    },
    /// Never changes again.
    Over {
        end: End,
    },
}

/// What a paused deployment goes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Was {
    Running,
    AwaitingApproval { batch: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseCause {
    Operator,
    Threshold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Succeeded,
    Partial,
    Failed,
    Cancelled,
    RolledBack,
    RollbackFailed,
}

/// What may happen to a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    FirstBatchDispatched,
    ApprovalRequired {
        batch: u64,
    },
    Approve {
        batch: u64,
    },
    Pause(PauseCause),
    Resume,
    Cancel,
    Halt,
    /// Every host of the last batch is terminal, and the threshold was not passed.
    Finish(Outcome),
    /// Every host is terminal after a cancel or a halt.
    Drain,
    BeginRollback,
    /// Every host of the rollback is terminal.
    FinishRollback {
        everywhere: bool,
    },
}

/// What a deployment is doing beside its status: its hosts are finishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RollingPhase)]
pub enum Phase {
    Halting,
    Cancelling,
}

/// The state forbids what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {event} a deployment that is {state}")]
pub struct InvalidTransition {
    pub event: &'static str,
    pub state: &'static str,
}

impl State {
    /// The next state. Terminal states have none; a move that changes nothing gives the same state.
    pub fn next(self, event: Event) -> Result<Self, InvalidTransition> {
        let next = match event {
            Event::FirstBatchDispatched => self.first_batch_dispatched(),
            Event::ApprovalRequired { batch } => self.approval_required(batch),
            Event::Approve { batch } => self.approved(batch),
            Event::Pause(cause) => self.paused(cause),
            Event::Resume => self.resumed(),
            Event::Cancel => self.cancelled(),
            Event::Halt => self.halted(),
            Event::Finish(outcome) => self.finished(outcome),
            Event::Drain => self.drained(),
            Event::BeginRollback => self.rollback_begun(),
            Event::FinishRollback { everywhere } => self.rolled_back(everywhere),
        };
        next.ok_or(InvalidTransition {
            event: event.name(),
            state: self.name(),
        })
    }

    /// The state by the name it has in the trace, in refusals and in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Halting => "halting",
            Self::Cancelling => "cancelling",
            Self::Queued { .. }
            | Self::Running
            | Self::AwaitingApproval { .. }
            | Self::Paused { .. }
            | Self::RollingBack { .. }
            | Self::Over { .. } => self.status().as_str(),
        }
    }

    pub fn status(self) -> Status {
        match self {
            Self::Queued { .. } => Status::Queued,
            Self::Running | Self::Halting | Self::Cancelling => Status::Running,
            Self::AwaitingApproval { .. } => Status::AwaitingApproval,
            Self::Paused { .. } => Status::Paused,
            Self::RollingBack { .. } => Status::RollingBack,
            Self::Over { end } => end.status(),
        }
    }

    pub fn phase(self) -> Option<Phase> {
        match self {
            Self::Halting => Some(Phase::Halting),
            Self::Cancelling
            | Self::Queued { cancelling: true }
            | Self::AwaitingApproval {
                cancelling: true, ..
            }
            | Self::RollingBack { cancelling: true } => Some(Phase::Cancelling),
            Self::Queued { cancelling: false }
            | Self::Running
            | Self::AwaitingApproval {
                cancelling: false, ..
            }
            | Self::Paused { .. }
            | Self::RollingBack { cancelling: false }
            | Self::Over { .. } => None,
        }
    }

    pub fn is_terminal(self) -> bool {
        match self {
            Self::Over { .. } => true,
            Self::Queued { .. }
            | Self::Running
            | Self::AwaitingApproval { .. }
            | Self::Paused { .. }
            | Self::Halting
            | Self::Cancelling
            | Self::RollingBack { .. } => false,
        }
    }

    fn first_batch_dispatched(self) -> Option<Self> {
        match self {
            Self::Queued { cancelling: false } => Some(Self::Running),
            Self::Queued { cancelling: true }
            | Self::Running
            | Self::AwaitingApproval { .. }
            | Self::Paused { .. }
            | Self::Halting
            | Self::Cancelling
            | Self::RollingBack { .. }
            | Self::Over { .. } => None,
        }
    }

    fn approval_required(self, batch: u64) -> Option<Self> {
        let cancelling = false;
        match self {
            Self::Running => Some(Self::AwaitingApproval { batch, cancelling }),
            Self::Queued { .. }
            | Self::AwaitingApproval { .. }
            | Self::Paused { .. }
            | Self::Halting
            | Self::Cancelling
            | Self::RollingBack { .. }
            | Self::Over { .. } => None,
        }
    }

    fn approved(self, approved: u64) -> Option<Self> {
        match self {
            Self::AwaitingApproval {
                batch,
                cancelling: false,
            } => (batch == approved).then_some(Self::Running),
            Self::AwaitingApproval {
                cancelling: true, ..
            }
            | Self::Queued { .. }
            | Self::Running
            | Self::Paused { .. }
            | Self::Halting
            | Self::Cancelling
            | Self::RollingBack { .. }
            | Self::Over { .. } => None,
        }
    }

    fn paused(self, cause: PauseCause) -> Option<Self> {
        let was = match self {
            Self::Running => Was::Running,
            Self::AwaitingApproval {
                batch,
                cancelling: false,
            } => Was::AwaitingApproval { batch },
            Self::Paused { .. } => return Some(self),
            Self::AwaitingApproval {
                cancelling: true, ..
            }
            | Self::Queued { .. }
            | Self::Halting
            | Self::Cancelling
            | Self::RollingBack { .. }
            | Self::Over { .. } => return None,
        };
        Some(Self::Paused { was, cause })
    }

    fn resumed(self) -> Option<Self> {
        match self {
            Self::Paused { was, .. } => Some(match was {
                Was::Running => Self::Running,
                Was::AwaitingApproval { batch } => Self::AwaitingApproval {
                    batch,
                    cancelling: false,
                },
            }),
            Self::Queued { .. }
            | Self::Running
            | Self::AwaitingApproval { .. }
            | Self::Halting
            | Self::Cancelling
            | Self::RollingBack { .. }
            | Self::Over { .. } => None,
        }
    }

    fn cancelled(self) -> Option<Self> {
        let cancelling = true;
        match self {
            Self::Queued { .. } => Some(Self::Queued { cancelling }),
            Self::AwaitingApproval { batch, .. } => {
                Some(Self::AwaitingApproval { batch, cancelling })
            }
            Self::Running | Self::Paused { .. } | Self::Cancelling => Some(Self::Cancelling),
            Self::RollingBack { .. } => Some(Self::RollingBack { cancelling }),
            Self::Halting | Self::Over { .. } => None,
        }
    }

    fn halted(self) -> Option<Self> {
        match self {
            Self::Running => Some(Self::Halting),
            Self::Queued { .. }
            | Self::AwaitingApproval { .. }
            | Self::Paused { .. }
            | Self::Halting
            | Self::Cancelling
            | Self::RollingBack { .. }
            | Self::Over { .. } => None,
        }
    }

    fn finished(self, outcome: Outcome) -> Option<Self> {
        let end = match outcome {
            Outcome::Succeeded => End::Succeeded,
            Outcome::Partial => End::Partial,
            Outcome::Failed => End::Failed,
        };
        match self {
            Self::Running => Some(Self::Over { end }),
            Self::Queued { .. }
            | Self::AwaitingApproval { .. }
            | Self::Paused { .. }
            | Self::Halting
            | Self::Cancelling
            | Self::RollingBack { .. }
            | Self::Over { .. } => None,
        }
    }

    fn drained(self) -> Option<Self> {
        let end = match self {
            Self::Queued { cancelling: true }
            | Self::AwaitingApproval {
                cancelling: true, ..
            }
            | Self::Cancelling => End::Cancelled,
            Self::Halting => End::Failed,
            Self::RollingBack { cancelling: true } => End::RollbackFailed,
            Self::Queued { cancelling: false }
            | Self::AwaitingApproval {
                cancelling: false, ..
            }
            | Self::Running
            | Self::Paused { .. }
            | Self::RollingBack { cancelling: false }
            | Self::Over { .. } => return None,
        };
        Some(Self::Over { end })
    }

    fn rollback_begun(self) -> Option<Self> {
        match self {
            Self::Halting => Some(Self::RollingBack { cancelling: false }),
            Self::Queued { .. }
            | Self::Running
            | Self::AwaitingApproval { .. }
            | Self::Paused { .. }
            | Self::Cancelling
            | Self::RollingBack { .. }
            | Self::Over { .. } => None,
        }
    }

    fn rolled_back(self, everywhere: bool) -> Option<Self> {
        let end = if everywhere {
            End::RolledBack
        } else {
            End::RollbackFailed
        };
        match self {
            Self::RollingBack { cancelling: false } => Some(Self::Over { end }),
            Self::RollingBack { cancelling: true }
            | Self::Queued { .. }
            | Self::Running
            | Self::AwaitingApproval { .. }
            | Self::Paused { .. }
            | Self::Halting
            | Self::Cancelling
            | Self::Over { .. } => None,
        }
    }
}

impl End {
    pub fn status(self) -> Status {
        match self {
            Self::Succeeded => Status::Succeeded,
            Self::Partial => Status::Partial,
            Self::Failed => Status::Failed,
            Self::Cancelled => Status::Cancelled,
            Self::RolledBack => Status::RolledBack,
            Self::RollbackFailed => Status::RollbackFailed,
        }
    }
}

impl Event {
    /// As in "cannot … a deployment that is running".
    pub fn name(self) -> &'static str {
        match self {
            Self::FirstBatchDispatched => "start",
            Self::ApprovalRequired { .. } => "await approval of",
            Self::Approve { .. } => "approve that batch of",
            Self::Pause(_) => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Halt => "halt",
            Self::Finish(_) => "finish",
            Self::Drain => "drain",
            Self::BeginRollback => "roll back",
            Self::FinishRollback { .. } => "finish the rollback of",
        }
    }
}

#[cfg(test)]
mod tests;
