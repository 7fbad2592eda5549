//! How this module's errors look over HTTP. The bodies state facts of the API; what went wrong inside is logged here.

use fleetwright_operations::http::selection_problem;
use fleetwright_plugin_api::sdk::Problem;

use crate::actions::BulkError;

/// The problem of an error.
pub fn of(error: BulkError) -> Problem {
    match error {
        BulkError::NotFound => Problem::not_found("bulk operation, or no such host in it"),
        BulkError::Invalid(found) => Problem::invalid(found),
        BulkError::Selection(error) => selection_problem(error),
        BulkError::InvalidTransition { control, state } => Problem::conflict(
            "invalid-transition",
            format!("Cannot {control} an operation that is {state}."),
        ),
        BulkError::Stale => Problem::precondition_failed(),
        BulkError::Contended => {
            Problem::conflict("in-progress", "The operation is being changed by others.")
        }
        BulkError::Call(error) => Problem::from(error),
        BulkError::Server(error) => Problem::from(error),
    }
}
