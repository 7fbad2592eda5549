//! What is done with deployments beside what is alike for every kind of operation: how one is created, and how a step of one
//! is written. Not the HTTP shapes (`http`) and not the delivery (the core's sets).

pub mod advance;
pub mod create;

use fleetwright_operations::OperationError;
use fleetwright_plugin_api::wire::SetView;

use crate::decide::Counts;
use crate::decide::state::InvalidTransition;

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

impl From<InvalidTransition> for OperationError {
    fn from(refused: InvalidTransition) -> Self {
        Self::InvalidTransition {
            control: refused.event,
            state: refused.state,
        }
    }
}
