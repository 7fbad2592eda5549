//! How this module's errors look over HTTP. The bodies state facts of the API; what went wrong inside is logged here.

use fleetwright_operations::http::selection_problem;
use fleetwright_plugin_api::sdk::Problem;

use crate::actions::RollingError;

/// The problem of an error.
pub fn of(error: RollingError) -> Problem {
    match error {
        RollingError::NotFound => Problem::not_found("rolling deployment, or no such host in it"),
        RollingError::Invalid(found) => Problem::invalid(found),
        RollingError::Selection(error) => selection_problem(error),
        RollingError::Transition(refused) => Problem::conflict(
            "invalid-transition",
            format!(
                "Cannot {} a deployment that is {}.",
                refused.event, refused.state
            ),
        ),
        RollingError::Stale => Problem::precondition_failed(),
        RollingError::Contended => {
            Problem::conflict("in-progress", "The deployment is being changed by others.")
        }
        RollingError::Call(error) => Problem::from(error),
        RollingError::Server(error) => Problem::from(error),
    }
}
