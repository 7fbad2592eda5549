//! How this module's errors look over HTTP. The bodies state facts of the API; what went wrong inside is logged by the SDK.

use fleetwright_plugin_api::sdk::Problem;

use crate::actions::SchedulesError;

/// The problem of an error.
pub fn of(error: SchedulesError) -> Problem {
    match error {
        SchedulesError::NotFound => Problem::not_found("schedule"),
        SchedulesError::Unreadable(problem) => problem,
        SchedulesError::Invalid(found) => Problem::invalid(found),
        SchedulesError::NameTaken => {
            Problem::conflict("name-taken", "Another schedule has this name.")
        }
        SchedulesError::Stale => Problem::precondition_failed(),
        SchedulesError::Overlap => Problem::conflict(
            "schedule-overlap",
            "An earlier run goes on, and the schedule forbids a second one.",
        ),
        SchedulesError::Contended => {
            Problem::conflict("in-progress", "The schedule is being changed by others.")
        }
        SchedulesError::Call(error) => Problem::from(error),
        SchedulesError::Server(error) => Problem::from(error),
    }
}
