//! How this module's errors look over HTTP. The bodies state facts of the API; what went wrong inside is logged here.

use fleetwright_plugin_api::sdk::Problem;
use fleetwright_protocol::Violation;

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
        BulkError::SelectionEmpty => Problem::new(422, "selection-empty", "No host is selected."),
        BulkError::SelectionTooLarge(count) => Problem::new(
            422,
            "selection-too-large",
            format!("{count} hosts are selected; one operation holds at most 100,000."),
        ),
        BulkError::SelectionChanged { digest, count } => Problem::new(
            409,
            "selection-changed",
            format!("The selection is now {count} hosts with digest {digest}."),
        ),
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
        BulkError::Host(error) => Problem::from(error),
    }
}

/// A body that was understood and is wrong. The problem's code is the first violation's, so that a client may branch
/// on the commonest case without looking at the list.
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
