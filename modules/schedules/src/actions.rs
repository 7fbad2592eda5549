//! What an operator can do with schedules, and what the loops do with them. Each action decides on what is stored and writes
//! its outcome on the condition that it still is. Not the HTTP shapes (`http`).

pub mod delete;
pub mod fire;
pub mod follow;
pub mod launch;
pub mod read;
pub mod run_now;
pub mod save;
mod work;

use fleetwright_plugin_api::sdk::{CallError, Problem, ServerError};
use fleetwright_protocol::Violation;

/// The feature all of this module's routes belong to.
pub const FEATURE: &str = "fleet_scheduled_operations";
/// Published when the next fire of a schedule has changed.
pub const ARMED_SIGNAL: &str = "schedules:armed";
/// Published when runs wait to be launched.
pub const RUNS_SIGNAL: &str = "schedules:runs";
/// Published when a run has launched its operation.
pub const LAUNCHED_SIGNAL: &str = "schedules:launched";

/// Decisions made again after a lost race. Schedules are saved by people: more than a few in a row is something else.
const ATTEMPTS_MAX: usize = 5;

/// Why an action did not happen.
#[derive(Debug, thiserror::Error)]
pub enum SchedulesError {
    #[error("no such schedule")]
    NotFound,
    /// The body says what no schedule can be.
    #[error("{0}")]
    Unreadable(Problem),
    #[error("the request is invalid")]
    Invalid(Vec<Violation>),
    #[error("another schedule has the name")]
    NameTaken,
    #[error("the schedule changed since it was read")]
    Stale,
    /// An earlier run goes on, and the schedule forbids a second one.
    #[error("an earlier run goes on")]
    Overlap,
    /// Others kept changing the schedule; nothing was done.
    #[error("the schedule is being changed by others")]
    Contended,
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Server(#[from] ServerError),
}
