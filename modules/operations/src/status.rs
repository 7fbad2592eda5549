//! The status of an operation as the API tells it, of whichever module: a bulk operation has some of them, a rolling
//! deployment all, and a schedule follows either.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The status as the API tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RollingStatus)]
pub enum OperationStatus {
    Queued,
    Running,
    AwaitingApproval,
    Paused,
    Succeeded,
    Partial,
    Failed,
    Cancelled,
    RollingBack,
    RolledBack,
    RollbackFailed,
}

impl OperationStatus {
    pub const ALL: [Self; 11] = [
        Self::Queued,
        Self::Running,
        Self::AwaitingApproval,
        Self::Paused,
        Self::Succeeded,
        Self::Partial,
        Self::Failed,
        Self::Cancelled,
        Self::RollingBack,
        Self::RolledBack,
        Self::RollbackFailed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::RollbackFailed => "rollback_failed",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    pub fn is_terminal(self) -> bool {
        match self {
            Self::Queued
            | Self::Running
            | Self::AwaitingApproval
            | Self::Paused
            | Self::RollingBack => false,
            Self::Succeeded
            | Self::Partial
            | Self::Failed
            | Self::Cancelled
            | Self::RolledBack
            | Self::RollbackFailed => true,
        }
    }
}
