//! How this module's errors look over HTTP. The bodies state facts of the API; what went wrong inside is logged by the SDK.

use fleetwright_plugin_api::sdk::Problem;
use fleetwright_protocol::Violation;

use crate::actions::SchedulesError;

/// The problem of an error.
pub fn of(error: SchedulesError) -> Problem {
    match error {
        SchedulesError::NotFound => Problem::new(404, "not-found", "There is no such schedule."),
        SchedulesError::Invalid(found) => invalid(found),
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
        SchedulesError::Host(error) => Problem::from(error),
    }
}

/// A body that was understood and is wrong. The problem's code is the first violation's, so that a client may branch on the
/// commonest case without looking at the list.
pub fn invalid(found: Vec<Violation>) -> Problem {
    let code = found
        .first()
        .map_or_else(|| "invalid".to_owned(), |first| first.code.clone());
    let detail = match found.as_slice() {
        [only] => format!("{}: {}", only.pointer, only.detail),
        several => format!("{} fields are invalid.", several.len()),
    };
    Problem::new(422, code, detail).with_errors(found)
}
