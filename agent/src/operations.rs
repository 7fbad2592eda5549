//! What commands do: one file per operation type. Each returns an `Outcome`; when to run it, and that it runs once, is
//! decided in `core`.

pub mod deploy_file;
pub mod ending;
pub mod packages;
pub mod power;
pub mod result;
pub mod run_script;
pub mod secrets;
pub mod service_control;
pub mod surroundings;
pub mod tools;

use std::io;

use fleetwright_protocol::outcome::FailureReason;
use fleetwright_protocol::{ExecutionOptions, Outcome};

use crate::accounts::{self, Account};
use crate::journal::store::is_disk_full;

/// Why an operation did not come to run.
#[derive(Debug, thiserror::Error)]
pub enum CannotRun {
    /// Nothing was touched; it may be tried again elsewhere or later.
    #[error("the disk is full")]
    DiskFull,
    #[error("{0}")]
    Refused(String),
}

impl CannotRun {
    /// With the context of what was being done.
    pub fn because(what: &str, error: &io::Error) -> Self {
        if is_disk_full(error) {
            Self::DiskFull
        } else {
            Self::Refused(format!("{what}: {error}"))
        }
    }

    /// As the result of a command that did start.
    pub fn outcome(&self) -> Outcome {
        Outcome::failed(FailureReason::AgentError, self.to_string())
    }
}

/// The account to act as: `None` for the agent's own. An agent that is not root can act only as itself.
pub fn account_for(options: &ExecutionOptions) -> Result<Option<Account>, CannotRun> {
    let Some(name) = &options.run_as else {
        return Ok(None);
    };
    let account = accounts::account(name)
        .map_err(|error| CannotRun::because(&format!("cannot look up the account {name}"), &error))?
        .ok_or_else(|| CannotRun::Refused(format!("there is no account {name} on this host")))?;
    if account.ids.user == rustix::process::geteuid().as_raw() {
        return Ok(None);
    }
    if !accounts::is_root() {
        return Err(CannotRun::Refused(format!(
            "running as {name} needs an agent that runs as root"
        )));
    }
    Ok(Some(account))
}
