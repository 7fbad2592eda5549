//! What can be done with deployments. Each action decides on what is stored and writes intent, audit row and idempotency
//! record in one batch. Not the HTTP shapes (`http`) and not the delivery (the core's sets).

pub mod advance;
pub mod control;
pub mod create;
pub mod read;

use fleetwright_operations::selection::SelectionError;
use fleetwright_plugin_api::sdk::{CallError, ServerError};
use fleetwright_plugin_api::wire::SetView;
use fleetwright_protocol::Violation;

use crate::decide::Counts;
use crate::decide::state::InvalidTransition;

/// The signal this module publishes when a deployment was written.
pub const DEPLOYMENTS_SIGNAL: &str = "rolling:deployments";

/// Waiting since this generation misses nothing: a key that was ever published answers at once, so a signal between the
/// first look and the first wait is not lost.
pub const EVER: u64 = 1;

/// The signal of a set.
pub fn set_signal(set_id: fleetwright_protocol::SetId) -> String {
    format!("set:{set_id}")
}

/// What decisions read of a set.
pub fn counts(set: &SetView) -> Counts {
    Counts {
        total: set.total,
        held: set.held,
        queued: set.queued,
        running: set.running,
        succeeded: set.succeeded,
        failed: set.failed,
        unreachable: set.failed_unreachable,
        skipped: set.skipped,
        given_up_below: set.given_up_below,
    }
}

/// Why an action did not happen.
#[derive(Debug, thiserror::Error)]
pub enum RollingError {
    #[error("no such deployment")]
    NotFound,
    #[error("the request is invalid")]
    Invalid(Vec<Violation>),
    #[error(transparent)]
    Selection(#[from] SelectionError),
    #[error(transparent)]
    Transition(#[from] InvalidTransition),
    #[error("the deployment changed since it was read")]
    Stale,
    /// Others kept changing the deployment; nothing was done.
    #[error("the deployment is being changed by others")]
    Contended,
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Server(#[from] ServerError),
}
