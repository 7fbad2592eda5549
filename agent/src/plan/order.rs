//! What a runner is told: what to do, once and for all; and with each start, how much time is left and which boot it is.

use std::fs::File;
use std::io;
use std::path::Path;

use fleetwright_protocol::CommandId;
use serde::{Deserialize, Serialize};

use crate::config::SystemSettings;
use crate::job::Job;
use crate::operations::{CannotRun, account_for, result, secrets, surroundings};
use crate::supervisor::spec::RunSpec;
use crate::{operate, private_file, run_folder};

/// The hidden first argument that makes the agent's program a runner; the folder of the run follows.
pub const ARGUMENT: &str = "__plan";

const LAUNCH: &str = "launch.json";
/// A runner keeps its own time, puts files back when it is over and says so; its supervisor ends one that does not.
const GRACE_MS: u64 = 10_000;

/// Of one start of a runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// Of the machine, now.
    pub boot_id: String,
    /// Left of the operation's time.
    pub operation_ms: u64,
    /// Left of all, the health check's time included.
    pub run_ms: u64,
    /// When the operation's time ends, by the wall clock: a machine must be back by then.
    pub deadline_unix_ms: u64,
}

/// Makes the folder and writes the order into it, on disk before this returns: it is read again after a restart of the
/// machine.
pub fn prepare(job: &Job, system: &SystemSettings, folder: &Path) -> Result<(), CannotRun> {
    // Said now, not in the middle.
    account_for(&job.options)?;
    let written = operate::order(job, system).and_then(|order| {
        run_folder::create(folder)?;
        run_folder::write(folder, result::FILE_NAME, 0o600, b"", None)?;
        private_file::write(&folder.join(operate::ORDER), &order)?;
        secrets::keep(folder, &job.secrets)?;
        match folder.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    });
    written.map_err(|error| CannotRun::because("cannot write the plan", &error))
}

/// Writes what this start is about, and says what the supervisor is to run.
pub fn launch(command_id: CommandId, folder: &Path, launch: &Launch) -> Result<RunSpec, CannotRun> {
    serde_json::to_vec(launch)
        .map_err(io::Error::from)
        .and_then(|json| run_folder::write(folder, LAUNCH, 0o600, &json, None))
        .map_err(|error| CannotRun::because("cannot write the plan's start", &error))?;
    let secrets = secrets::kept(folder)
        .map_err(|error| CannotRun::because("cannot read the plan's secrets", &error))?;
    Ok(RunSpec {
        command_id,
        program: operate::PROGRAM.to_owned(),
        arguments: vec![
            ARGUMENT.to_owned(),
            surroundings::text_of(folder.to_owned())?,
        ],
        environment: surroundings::environment(std::iter::empty(), command_id, None)?,
        working_directory: "/".to_owned(),
        has_stdin: false,
        stdin_secret: None,
        secrets,
        account: None,
        leaves_result: true,
        passes_on: false,
        is_plan: true,
        timeout_ms: launch.run_ms.max(1).saturating_add(GRACE_MS),
        cgroup: None,
    })
}

/// What this start is about. The error is a sentence for a person.
pub fn read_launch(folder: &Path) -> Result<Launch, String> {
    let bytes = std::fs::read(folder.join(LAUNCH))
        .map_err(|error| format!("cannot read the plan's start: {error}"))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| format!("the plan's start is not understood: {error}"))
}
