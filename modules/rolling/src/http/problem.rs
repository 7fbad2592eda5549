//! How this module's errors look over HTTP. The bodies state facts of the API; what went wrong inside is logged here.

pub use fleetwright_operations::http::invalid;
use fleetwright_operations::http::selection_problem;
use fleetwright_plugin_api::sdk::Problem;

use crate::actions::RollingError;

/// The problem of an error.
pub fn of(error: RollingError) -> Problem {
    match error {
        RollingError::NotFound => Problem::new(
            404,
            "not-found",
            "There is no such rolling deployment, or no such host in it.",
        ),
        RollingError::Invalid(found) => invalid(found),
        RollingError::Selection(error) => selection_problem(error),
        RollingError::Transition(refused) => Problem::new(
            409,
            "invalid-transition",
            format!(
                "Cannot {} a deployment that is {}.",
                refused.event, refused.state
            ),
        ),
        RollingError::Stale => Problem::precondition_failed(),
        RollingError::Contended => Problem::new(
            409,
            "in-progress",
            "The deployment is being changed by others.",
        ),
        RollingError::Call(error) => Problem::from(error),
        RollingError::Server(error) => Problem::from(error),
    }
}
