//! How this module's errors look over HTTP.

use fleetwright_plugin_api::sdk::Problem;
use fleetwright_protocol::Violation;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::actions::GroupsError;
use crate::decide::{Cycle, GROUPS_MAX};

/// The problem of an error.
pub fn of(error: GroupsError) -> Problem {
    match error {
        GroupsError::NotFound => Problem::new(404, "not-found", "There is no such group."),
        GroupsError::Stale => Problem::precondition_failed(),
        GroupsError::Invalid(violations) => invalid(violations),
        GroupsError::TooLarge(detail) => Problem::new(413, "too-large", detail),
        GroupsError::NameTaken(other) => {
            Problem::conflict("name-taken", "Another group has this name.")
                .with_member("group_id", other.to_string())
        }
        GroupsError::TooMany => {
            let detail = format!("There may be at most {GROUPS_MAX} groups.");
            Problem::invalid(
                "group-limit",
                vec![Violation::new("", "group-limit", detail)],
            )
        }
        GroupsError::Cycle(found) => cycle(&found),
        GroupsError::InUse { groups, schedules } => in_use(&groups, schedules),
        GroupsError::SelectionChanged { digest, count } => Problem::conflict(
            "selection-changed",
            format!("The selection is now {count} hosts with digest {digest}."),
        )
        .with_member("digest", digest)
        .with_member("count", count),
        GroupsError::Contended => Problem::conflict(
            "in-progress",
            "The groups are being changed by others; try again.",
        ),
        GroupsError::Server(error) => Problem::from(error),
    }
}

/// The problem's code is the first violation's, so that a client may branch on the commonest case without the list.
fn invalid(violations: Vec<Violation>) -> Problem {
    let code = violations
        .first()
        .map_or_else(|| "invalid".to_owned(), |first| first.code.clone());
    let detail = match violations.as_slice() {
        [only] => format!("{}: {}", only.pointer, only.detail),
        several => format!("{} faults were found.", several.len()),
    };
    Problem::new(422, code, detail).with_errors(violations)
}

fn cycle(cycle: &Cycle) -> Problem {
    let names: Vec<&str> = cycle.path.iter().map(|(_, name)| name.as_str()).collect();
    let detail = format!(
        "The groups would depend on each other in a circle: {}.",
        names.join(" → ")
    );
    let violation = Violation::new(cycle.pointer, "group-cycle", detail);
    Problem::invalid("group-cycle", vec![violation]).with_member("path", named(&cycle.path))
}

fn in_use(groups: &[(Uuid, String)], schedules: Vec<Value>) -> Problem {
    let detail = format!(
        "The group is named by {} groups and {} schedules.",
        groups.len(),
        schedules.len()
    );
    Problem::conflict("group-in-use", detail)
        .with_member("groups", named(groups))
        .with_member("schedules", schedules)
}

fn named(groups: &[(Uuid, String)]) -> Value {
    let groups = groups
        .iter()
        .map(|(id, name)| json!({"id": id, "name": name}));
    groups.collect()
}
