//! How this module's errors look over HTTP.

use axum::http::StatusCode;
use fleetwright_plugin_api::sdk::Problem;
use fleetwright_protocol::Violation;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::actions::GroupsError;
use crate::decide::{Cycle, GROUPS_MAX};

/// The problem of an error.
pub fn of(error: GroupsError) -> Problem {
    match error {
        GroupsError::NotFound => Problem::not_found("group"),
        GroupsError::Stale => Problem::precondition_failed(),
        GroupsError::Unreadable(problem) => problem,
        GroupsError::Invalid(violations) => Problem::invalid(violations),
        GroupsError::TooLarge(detail) => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
        }
        GroupsError::NameTaken(other) => {
            Problem::conflict("name-taken", "Another group has this name.")
                .with_extension("group_id", other.to_string())
        }
        GroupsError::TooMany => {
            let detail = format!("There may be at most {GROUPS_MAX} groups.");
            Problem::invalid(vec![Violation::new("", "group-limit", detail)])
        }
        GroupsError::Cycle(found) => cycle(&found),
        GroupsError::InUse { groups, schedules } => in_use(&groups, schedules),
        GroupsError::SelectionChanged { digest, count } => Problem::conflict(
            "selection-changed",
            format!("The selection is now {count} hosts with digest {digest}."),
        )
        .with_extension("digest", digest)
        .with_extension("count", count),
        GroupsError::Contended => Problem::conflict(
            "in-progress",
            "The groups are being changed by others; try again.",
        ),
        GroupsError::Server(error) => Problem::from(error),
    }
}

fn cycle(cycle: &Cycle) -> Problem {
    let names: Vec<&str> = cycle.path.iter().map(|(_, name)| name.as_str()).collect();
    let detail = format!(
        "The groups would depend on each other in a circle: {}.",
        names.join(" → ")
    );
    let violation = Violation::new(cycle.pointer, "group-cycle", detail);
    Problem::invalid(vec![violation]).with_extension("path", named(&cycle.path))
}

fn in_use(groups: &[(Uuid, String)], schedules: Vec<Value>) -> Problem {
    let detail = format!(
        "The group is named by {} groups and {} schedules.",
        groups.len(),
        schedules.len()
    );
    Problem::conflict("group-in-use", detail)
        .with_extension("groups", named(groups))
        .with_extension("schedules", schedules)
}

fn named(groups: &[(Uuid, String)]) -> Value {
    let groups = groups
        .iter()
        .map(|(id, name)| json!({"id": id, "name": name}));
    groups.collect()
}
