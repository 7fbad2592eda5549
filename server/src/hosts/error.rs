//! Why something could not be done to a host.

use fleetwright_protocol::Violation;

use crate::db::DbError;

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("there is no such host")]
    NotFound,
    #[error("{0}")]
    InvalidTransition(&'static str),
    /// `If-Match` names another revision.
    #[error("the host has changed since it was read")]
    Stale,
    #[error("the input is not valid")]
    Invalid(Vec<Violation>),
    #[error(transparent)]
    Db(#[from] DbError),
}
