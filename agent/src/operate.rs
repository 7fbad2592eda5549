//! The operations that use the system's own tools run in a process of their own, under a supervisor as a script does:
//! so they can be timed out, cancelled and outlive the agent. This is that process, and the order it gets. It knows
//! nothing of the server or the journal.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use fleetwright_protocol::operation::{Packages, PowerChange};
use fleetwright_protocol::outcome::{FailureReason, OutcomeStatus};
use fleetwright_protocol::{CommandId, Operation, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::accounts;
use crate::config::SystemSettings;
use crate::guard::PathPolicy;
use crate::job::{self, Job};
use crate::journal::PowerKind;
use crate::operations::packages::{self, Change, Manager};
use crate::operations::power;
use crate::operations::result::{self, OperationResult};
use crate::operations::service_control::{self, ServiceManager};
use crate::operations::tools::{SystemTools, Tools};
use crate::operations::{CannotRun, account_for, surroundings};
use crate::run_folder;
use crate::supervisor::spec::RunSpec;

/// The hidden first argument that makes the agent's program carry out one operation; the folder of the run follows.
pub const ARGUMENT: &str = "__operate";

/// The program of the supervisor, which is this one, also after its file has been replaced by an upgrade.
pub const PROGRAM: &str = "/proc/self/exe";
/// The file of the order.
pub const ORDER: &str = "operation.json";

/// What is to be done, and with what; never a secret.
#[derive(Serialize, Deserialize)]
struct Order {
    /// As a command brings it.
    operation: Value,
    timeout_seconds: u64,
    system: SystemSettings,
    /// Only of a plan, whose process puts files in place.
    #[serde(default)]
    places: PathPolicy,
}

/// Writes the order into `folder`, which is made, and says what its supervisor is to run.
pub fn prepare(
    job: &Job,
    system: &SystemSettings,
    command_id: CommandId,
    folder: &Path,
) -> Result<RunSpec, CannotRun> {
    let account = account_for(&job.options)?;
    let owner = account.as_ref().map(|account| &account.ids);
    let written = order(job, system, &PathPolicy::default()).and_then(|order| {
        run_folder::create(folder)?;
        run_folder::write(folder, ORDER, 0o600, &order, owner)?;
        run_folder::write(folder, result::FILE_NAME, 0o600, b"", owner)
    });
    written.map_err(|error| CannotRun::because("cannot write the operation", &error))?;
    Ok(RunSpec {
        command_id,
        program: PROGRAM.to_owned(),
        arguments: vec![
            ARGUMENT.to_owned(),
            surroundings::text_of(folder.to_owned())?,
        ],
        // Never the operation's: this process runs tools as root.
        environment: surroundings::environment(std::iter::empty(), command_id, account.as_ref())?,
        working_directory: job
            .options
            .working_directory
            .clone()
            .unwrap_or_else(|| "/".to_owned()),
        has_stdin: false,
        stdin_secret: None,
        secrets: job.secrets.clone(),
        account: account.map(|account| account.ids),
        leaves_result: true,
        passes_on: false,
        is_plan: false,
        timeout_ms: job.timeout_seconds.saturating_mul(1_000),
        cgroup: None,
    })
}

/// Carries out the order in `folder` and leaves the result there.
pub fn main(folder: &Path) -> ExitCode {
    let outcome = match read(folder) {
        Ok((job, system)) => carry_out(&job, &system, &mut SystemTools),
        Err(why) => Outcome::failed(FailureReason::AgentError, why),
    };
    let status = outcome.status;
    match (OperationResult::of(outcome).write(folder), status) {
        (Ok(()), OutcomeStatus::Succeeded) => ExitCode::SUCCESS,
        (Ok(()), OutcomeStatus::Failed | OutcomeStatus::Unknown(_)) => ExitCode::FAILURE,
        (
            Err(error),
            OutcomeStatus::Succeeded | OutcomeStatus::Failed | OutcomeStatus::Unknown(_),
        ) => {
            eprintln!("cannot write the result: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The bytes of the order.
pub fn order(job: &Job, system: &SystemSettings, places: &PathPolicy) -> io::Result<Vec<u8>> {
    let mut operation = serde_json::to_value(&job.operation)?;
    if let Value::Object(fields) = &mut operation {
        fields.insert("options".to_owned(), json!(job.options));
    }
    Ok(serde_json::to_vec(&Order {
        operation,
        timeout_seconds: job.timeout_seconds,
        system: system.clone(),
        places: places.clone(),
    })?)
}

/// The order in `folder`. The error is a sentence for a person.
pub fn read(folder: &Path) -> Result<(Job, SystemSettings), String> {
    let order = read_order(folder)?;
    let job = job::parse_timed(&order.operation, |_| order.timeout_seconds)
        .map_err(|error| error.to_string())?;
    Ok((job, order.system))
}

/// Where the order in `folder` lets files be put. The error is a sentence for a person.
pub fn read_places(folder: &Path) -> Result<PathPolicy, String> {
    read_order(folder).map(|order| order.places)
}

fn read_order(folder: &Path) -> Result<Order, String> {
    let bytes = std::fs::read(folder.join(ORDER))
        .map_err(|error| format!("cannot read the operation: {error}"))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| format!("the operation is not understood: {error}"))
}

fn carry_out(job: &Job, system: &SystemSettings, tools: &mut dyn Tools) -> Outcome {
    let dry_run = job.options.dry_run;
    match &job.operation {
        Operation::ServiceControl(control) => {
            match ServiceManager::detect(system.service_manager.as_ref()) {
                Ok(manager) => {
                    let privileged = accounts::is_root() || !manager.needs_root();
                    service_control::carry_out(control, dry_run, &manager, privileged, tools)
                }
                Err(why) => Outcome::failed(FailureReason::AgentError, why),
            }
        }
        Operation::Reboot(change) => {
            let configured = system.reboot_command.as_deref();
            change_power(PowerKind::Reboot, change, dry_run, configured, tools)
        }
        Operation::Shutdown(change) => {
            let configured = system.shutdown_command.as_deref();
            change_power(PowerKind::Shutdown, change, dry_run, configured, tools)
        }
        Operation::InstallPackage(named) => {
            change_packages(Change::Install, named, dry_run, system, tools)
        }
        Operation::RemovePackage(named) => {
            change_packages(Change::Remove, named, dry_run, system, tools)
        }
        Operation::RunScript(_) | Operation::DeployFile(_) | Operation::ApplyDeploymentPlan(_) => {
            Outcome::failed(
                FailureReason::AgentError,
                format!(
                    "{} is not done this way",
                    job.operation.operation_type().as_str()
                ),
            )
        }
    }
}

fn change_packages(
    change: Change,
    named: &Packages,
    dry_run: bool,
    system: &SystemSettings,
    tools: &mut dyn Tools,
) -> Outcome {
    match Manager::detect(system.package_manager.as_deref()) {
        Ok(manager) => packages::carry_out(change, named, dry_run, &manager, tools),
        Err(why) => Outcome::failed(FailureReason::AgentError, why),
    }
}

fn change_power(
    kind: PowerKind,
    change: &PowerChange,
    dry_run: bool,
    configured: Option<&[String]>,
    tools: &mut dyn Tools,
) -> Outcome {
    let command = power::command(kind, configured, change.message.as_deref());
    // A configured command may well get its rights from elsewhere.
    let privileged = accounts::is_root() || configured.is_some();
    #[expect(
        clippy::disallowed_methods,
        reason = "a delay is what was asked for, and this process has nothing else to do"
    )]
    let pause = std::thread::sleep;
    power::carry_out(change, dry_run, command, privileged, tools, pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_reads_back_as_the_job_and_the_settings_it_was_made_of() {
        let folder = tempfile::tempdir().unwrap();
        let operation = json!({
            "operation_type": "service_control",
            "parameters": {"service": "web", "action": "restart"},
            "options": {"dry_run": true},
        });
        let mut job = job::parse(&operation, 77).unwrap();
        let system = SystemSettings {
            reboot_command: Some(vec!["/bin/false".to_owned()]),
            service_manager: Some(crate::config::ServiceManagerSetting::OpenRc),
            ..SystemSettings::default()
        };
        let id = CommandId(uuid::Uuid::nil());
        let run = folder.path().join("run");
        // Whatever came by the checks: it is not handed on.
        let variables = [("PATH", "/theirs"), ("BASH_ENV", "x"), ("PERL5OPT", "-d")];
        job.options.environment = variables
            .map(|(name, value)| (name.to_owned(), value.into()))
            .into();
        let spec = prepare(&job, &system, id, &run).unwrap();
        let names: Vec<&str> = spec.environment.keys().map(String::as_str).collect();
        assert_eq!(names, ["FLEETWRIGHT_COMMAND_ID", "HOME", "LANG", "PATH"]);
        assert!(!spec.environment["PATH"].contains("theirs"));
        job.options.environment.clear();
        let spec = prepare(&job, &system, id, &run).unwrap();
        assert_eq!(spec.arguments, [ARGUMENT, run.to_str().unwrap()]);
        assert_eq!((spec.timeout_ms, spec.leaves_result), (77_000, true));
        assert_eq!(read(&run), Ok((job, system)));
    }
}
