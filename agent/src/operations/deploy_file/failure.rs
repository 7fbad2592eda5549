//! Why a file was not deployed.

use std::io;

use fleetwright_protocol::outcome::FailureReason;

use crate::operations::CannotRun;
use crate::policy::Refused;

#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    #[error(transparent)]
    CannotRun(#[from] CannotRun),
    #[error("{what}: {error}")]
    Io { what: String, error: io::Error },
    /// By this host's policy.
    #[error(transparent)]
    Denied(#[from] Refused),
    #[error("given up before anything was replaced")]
    Stopped(FailureReason),
}

pub fn refused(why: &str) -> DeployError {
    DeployError::CannotRun(CannotRun::Refused(why.to_owned()))
}

pub fn io_error(what: String, error: io::Error) -> DeployError {
    DeployError::Io { what, error }
}
