//! How this module's errors look over HTTP. The bodies state facts of the API; what went wrong inside is logged here.

pub use fleetwright_operations::http::invalid;
use fleetwright_operations::http::selection_problem;
use fleetwright_plugin_api::sdk::Problem;

use crate::actions::BulkError;

/// The problem of an error.
pub fn of(error: BulkError) -> Problem {
    match error {
        BulkError::NotFound => Problem::new(
            404,
            "not-found",
            "There is no such bulk operation, or no such host in it.",
        ),
        BulkError::Invalid(found) => invalid(found),
        BulkError::Selection(error) => selection_problem(error),
        BulkError::InvalidTransition { control, state } => Problem::new(
            409,
            "invalid-transition",
            format!("Cannot {control} an operation that is {state}."),
        ),
        BulkError::Stale => Problem::precondition_failed(),
        BulkError::Contended => Problem::new(
            409,
            "in-progress",
            "The operation is being changed by others.",
        ),
        BulkError::Call(error) => Problem::from(error),
        BulkError::Server(error) => Problem::from(error),
    }
}
