//! What a client is told when a host service or another module refuses or fails.

use super::{CallError, Problem, RowError, ServerError};

/// 503 where trying again helps, else 500 with the reason logged.
impl From<ServerError> for Problem {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Unavailable(_) | ServerError::ShuttingDown => {
                tracing::warn!(%error, "a host service is unavailable");
                Self::unavailable()
            }
            ServerError::Refused(problem) => *problem,
            ServerError::Guard { .. }
            | ServerError::Constraint { .. }
            | ServerError::TooLarge(_)
            | ServerError::Forbidden(_)
            | ServerError::NotFound(_)
            | ServerError::Invalid(_)
            | ServerError::Internal(_) => {
                tracing::error!(%error, "a host service failed");
                Self::internal_silent()
            }
        }
    }
}

/// A row that is not what its reader takes it for is a defect like any other of the module: 500, and the log has it.
impl From<RowError> for Problem {
    fn from(error: RowError) -> Self {
        ServerError::from(error).into()
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Problem(problem) => problem,
            CallError::Server(error) => error.into(),
            CallError::Unavailable {
                feature,
                module,
                reason,
            } => Self::feature_not_available(&feature, &module, &reason),
        }
    }
}
