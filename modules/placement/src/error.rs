//! Why an action did not happen, and how that looks over HTTP.

use fleetwright_plugin_api::sdk::{CallError, Problem, RowError, ServerError};

/// Decisions made again after a lost race; more than so many in a row is something else.
pub const ATTEMPTS_MAX: usize = 20;

/// Why an action did not happen.
#[derive(Debug, thiserror::Error)]
pub enum PlacementError {
    /// There is no such job, node, factory …, or it is another tenant's.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The client's fault, told as it is.
    #[error("{0}")]
    Refused(Problem),
    /// Others kept changing the same rows; nothing was done.
    #[error("others keep changing it")]
    Contended,
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl From<Problem> for PlacementError {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl From<RowError> for PlacementError {
    fn from(error: RowError) -> Self {
        Self::Server(ServerError::from(error))
    }
}

impl From<CallError> for PlacementError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Problem(problem) => Self::Refused(problem),
            CallError::Server(error) => Self::Server(error),
            unavailable @ CallError::Unavailable { .. } => {
                Self::Refused(Problem::from(unavailable))
            }
        }
    }
}

impl From<PlacementError> for Problem {
    fn from(error: PlacementError) -> Self {
        match error {
            PlacementError::NotFound(what) => Self::not_found(what),
            PlacementError::Refused(problem) => problem,
            PlacementError::Contended => {
                Self::conflict("in-progress", "It is being changed by others; try again.")
                    .with_retry_after(1)
            }
            PlacementError::Server(error) => Self::from(error),
        }
    }
}
