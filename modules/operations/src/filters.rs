//! The filters of lists of operations and of their hosts, as clients write them.

use fleetwright_plugin_api::wire::CommandStatus;
use fleetwright_protocol::{OperationType, Violation};
use fleetwright_selector::parse_rfc3339_us;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::kind::Kind;
use crate::status::OperationStatus;
use crate::store::Listing;
use crate::view::command_status;

const CODE: &str = "filter-invalid";

/// Filters of a list beside the status; all must hold.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct Filters {
    operation_type: Option<String>,
    /// RFC 3339; exclusive.
    created_after: Option<String>,
    /// RFC 3339; exclusive.
    created_before: Option<String>,
}

impl Filters {
    /// What they mean. `found` gets what is wrong with them.
    pub fn read(&self, found: &mut Vec<Violation>) -> Listing {
        let kind = self.operation_type.as_deref();
        if kind.is_some_and(|kind| OperationType::from_name(kind).is_none()) {
            found.push(violation("operation_type", "is not an operation type"));
        }
        let mut time = |name: &str, text: &Option<String>| {
            let parsed = text.as_deref().map(parse_rfc3339_us);
            if parsed == Some(None) {
                found.push(violation(name, "is not an RFC 3339 time"));
            }
            parsed.flatten()
        };
        Listing {
            created_after_us: time("created_after", &self.created_after),
            created_before_us: time("created_before", &self.created_before),
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
    fn filters_are_read_and_wrong_ones_named() {
        let cases = [
            ("operation_type", "reboot", true),
            ("operation_type", "x' OR 1=1", false),
            ("created_after", "2026-03-01T00:00:00.5Z", true),
            ("created_after", "yesterday", false),
            ("created_before", "2026-03-01T00:00:00+02:00", true),
            ("created_before", "1", false),
        ];
        for (name, value, fits) in cases {
            let filters: Filters =
                serde_json::from_value(serde_json::json!({ name: value })).unwrap();
            let mut found = Vec::new();
            filters.read(&mut found);
            assert_eq!(found.is_empty(), fits, "{name}={value}");
            if !fits {
                assert_eq!(found[0].pointer, format!("/{name}"));
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
