//! The filters of lists of operations and of their hosts, as clients write them.

use fleetwright_plugin_api::sdk::{Timestamp, from_input};
use fleetwright_plugin_api::wire::CommandStatus;
use fleetwright_protocol::{OperationType, Violation};
use utoipa::IntoParams;

use crate::kind::Kind;
use crate::status::OperationStatus;
use crate::store::Listing;
use crate::view::command_status;

/// Of a value that is not one of its filter's: the code of every field of the server.
const CODE: &str = "invalid-field";

/// Filters of a list beside the status; all must hold.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Filters {
    operation_type: Option<String>,
    /// RFC 3339; exclusive.
    #[param(value_type = Option<String>)]
    created_after: Option<Timestamp>,
    /// RFC 3339; exclusive.
    #[param(value_type = Option<String>)]
    created_before: Option<Timestamp>,
}

from_input!(Filters {
    operation_type,
    created_after,
    created_before
});

impl Filters {
    /// What they mean. `found` gets what is wrong with them.
    pub fn read(&self, found: &mut Vec<Violation>) -> Listing {
        let kind = self.operation_type.as_deref();
        if kind.is_some_and(|kind| OperationType::from_name(kind).is_none()) {
            found.push(violation("operation_type", "is not an operation type"));
        }
        Listing {
            created_after_us: self.created_after.map(|time| time.0),
            created_before_us: self.created_before.map(|time| time.0),
            operation_type: self.operation_type.clone(),
            ..Listing::default()
        }
    }
}

/// The filter `status` of a list, of those a kind has.
pub fn status<K: Kind>(name: Option<&str>, found: &mut Vec<Violation>) -> Option<OperationStatus> {
    let name = name?;
    let status = OperationStatus::from_name(name).filter(|it| !K::stored_as(*it).is_empty());
    if status.is_none() {
        let detail = format!("is not a status of a {}", K::NAMES.full);
        found.push(violation("status", &detail));
    }
    status
}

/// The filter `status` of a list of hosts.
pub fn host_status(name: Option<&str>) -> Result<Option<CommandStatus>, Violation> {
    let Some(name) = name else {
        return Ok(None);
    };
    let detail = "must be queued, running, succeeded, failed or skipped";
    let status = command_status(name).ok_or_else(|| violation("status", detail))?;
    Ok(Some(status))
}

fn violation(name: &str, detail: &str) -> Violation {
    Violation::new(format!("/{name}"), CODE, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_type_that_is_none_is_named() {
        for (kind, fits) in [("reboot", true), ("x' OR 1=1", false)] {
            let filters = Filters {
                operation_type: Some(kind.to_owned()),
                ..Filters::default()
            };
            let mut found = Vec::new();
            filters.read(&mut found);
            assert_eq!(found.is_empty(), fits, "{kind}");
            if !fits {
                assert_eq!(found[0].pointer, "/operation_type");
            }
        }
    }

    #[test]
    fn hosts_are_filtered_by_the_statuses_people_see() {
        assert_eq!(host_status(Some("queued")), Ok(Some(CommandStatus::Queued)));
        assert!(host_status(Some("held")).is_err());
        assert!(host_status(Some("")).is_err());
        assert_eq!(host_status(None), Ok(None));
    }
}
