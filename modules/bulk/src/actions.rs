//! What an operator can do with bulk operations. Each action decides on what is stored and writes intent, audit row
//! and idempotency record in one batch. Not the HTTP shapes (`http`) and not the delivery (the core's sets).

pub mod control;
pub mod create;
pub mod read;
pub mod retry;

use fleetwright_operations::selection::SelectionError;
use fleetwright_plugin_api::sdk::{CallError, ServerError};
use fleetwright_protocol::Violation;

/// The signal this module publishes when an operation is created or controlled.
pub const OPERATIONS_SIGNAL: &str = "bulk:operations";

/// Waiting since this generation misses nothing: a key that was ever published answers at once, so a signal between the
/// first look and the first wait is not lost.
pub const EVER: u64 = 1;

/// The signal of a set.
pub fn set_signal(set_id: fleetwright_protocol::SetId) -> String {
    format!("set:{set_id}")
}

/// Why an action did not happen.
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    #[error("no such bulk operation")]
    NotFound,
    #[error("the request is invalid")]
    Invalid(Vec<Violation>),
    #[error(transparent)]
    Selection(#[from] SelectionError),
    #[error("cannot {control} an operation that is {state}")]
    InvalidTransition {
        control: &'static str,
        state: &'static str,
    },
    #[error("the operation changed since it was read")]
    Stale,
    /// Others kept changing the operation; nothing was done.
    #[error("the operation is being changed by others")]
    Contended,
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Server(#[from] ServerError),
}
