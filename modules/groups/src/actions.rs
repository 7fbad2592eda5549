//! What can be done: select hosts, read groups, change them. A change decides on the catalogue of one generation and is
//! written only if that is still the newest; else it decides again. Not the HTTP shapes.

pub mod delete;
pub mod read;
pub mod save;
pub mod select;

use fleetwright_plugin_api::sdk::{Problem, ServerError};
use fleetwright_protocol::Violation;
use serde_json::Value;
use uuid::Uuid;

use crate::decide::Cycle;
use crate::engine::SelectError;
use crate::request::BodyFault;

/// Published when a group is created, changed or deleted.
pub const GROUPS_SIGNAL: &str = "groups:groups";

/// Decisions made again because another change came first. Each time another one got through, so with fewer writers at
/// once than this nobody is turned away.
const ATTEMPTS_MAX: usize = 100;

/// Why an action did not happen.
#[derive(Debug, thiserror::Error)]
pub enum GroupsError {
    #[error("no such group")]
    NotFound,
    #[error("the group changed since it was read")]
    Stale,
    /// The body says what no group can be.
    #[error("{0}")]
    Unreadable(Problem),
    #[error("the request is invalid")]
    Invalid(Vec<Violation>),
    #[error("{0}")]
    TooLarge(String),
    #[error("another group has the name: {0}")]
    NameTaken(Uuid),
    #[error("there are as many groups as there may be")]
    TooMany,
    #[error("the groups would depend on each other in a circle")]
    Cycle(Cycle),
    #[error("the group is named elsewhere")]
    InUse {
        groups: Vec<(Uuid, String)>,
        /// As the schedules module tells them.
        schedules: Vec<Value>,
    },
    #[error("the selection is not the expected one")]
    SelectionChanged { digest: String, count: u64 },
    /// Others kept changing the groups; nothing was done.
    #[error("the groups are being changed by others")]
    Contended,
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl From<BodyFault> for GroupsError {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge(detail) => Self::TooLarge(detail),
            BodyFault::Invalid(problem) => Self::Unreadable(problem),
        }
    }
}

impl GroupsError {
    /// With the places of unknown groups in the selector as written.
    fn of_select(error: SelectError, selector: &Value) -> Self {
        match error {
            SelectError::UnknownGroups(names) => {
                let places = crate::request::group_places(selector, "");
                Self::Invalid(crate::decide::unknown_groups(&places, &names))
            }
            SelectError::Server(error) => Self::Server(error),
        }
    }
}
