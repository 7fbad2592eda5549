//! Why an action on an operation did not happen, and how that looks over HTTP: the bodies state facts of the API; what went
//! wrong inside is logged here.

use fleetwright_plugin_api::sdk::{CallError, Problem, ServerError};
use fleetwright_protocol::Violation;

use crate::names::Names;
use crate::selection::SelectionError;

#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    #[error("no such operation")]
    NotFound,
    /// The body says what no operation can be.
    #[error("{0}")]
    Unreadable(Problem),
    #[error("the request is invalid")]
    Invalid(Vec<Violation>),
    #[error(transparent)]
    Selection(#[from] SelectionError),
    #[error("cannot {control} an operation that is {state}")]
    InvalidTransition {
        control: &'static str,
        state: &'static str,
    },
    #[error("the operation changed since it was read")]
    Stale,
    /// Others kept changing the operation; nothing was done.
    #[error("the operation is being changed by others")]
    Contended,
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl OperationError {
    /// The problem, in the words of a kind.
    pub fn problem(self, names: &Names) -> Problem {
        match self {
            Self::NotFound => Problem::not_found(&format!("{}, or no such host in it", names.full)),
            Self::Unreadable(problem) => problem,
            Self::Invalid(found) => Problem::invalid(found),
            Self::Selection(error) => selection_problem(error),
            Self::InvalidTransition { control, state } => Problem::invalid_transition(format!(
                "Cannot {control} {} that is {state}.",
                names.a_short
            )),
            Self::Stale => Problem::precondition_failed(),
            Self::Contended => Problem::conflict(
                "in-progress",
                format!("The {} is being changed by others.", names.short),
            ),
            Self::Call(error) => Problem::from(error),
            Self::Server(error) => Problem::from(error),
        }
    }
}

/// Why nothing usable was selected.
fn selection_problem(error: SelectionError) -> Problem {
    match error {
        SelectionError::SelectionEmpty => {
            Problem::unprocessable("selection-empty", "No host is selected.")
        }
        SelectionError::SelectionTooLarge(count) => Problem::unprocessable(
            "selection-too-large",
            format!("{count} hosts are selected; one operation holds at most 100,000."),
        ),
        SelectionError::SelectionChanged { digest, count } => Problem::conflict(
            "selection-changed",
            format!("The selection is now {count} hosts with digest {digest}."),
        ),
        SelectionError::Call(error) => Problem::from(error),
    }
}
