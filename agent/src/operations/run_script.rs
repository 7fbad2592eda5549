//! `run_script`: makes the folder of the run and says what its supervisor is to do, and what came of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fleetwright_protocol::operation::RunScript;
use fleetwright_protocol::outcome::{FailureReason, OutcomeStatus};
use fleetwright_protocol::{CommandId, ExecutionOptions, Outcome};

use super::{CannotRun, account_for};
use crate::accounts::{self, Account};
use crate::run_folder;
use crate::supervisor::exit_record::{Ending, ExitRecord};
use crate::supervisor::spec::{COMMAND_VARIABLE, RunSpec};

/// Where programs are looked for, whatever the agent's own environment says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Writes the script (exactly as given) and its input into `folder`, which is made.
pub fn prepare(
    script: &RunScript,
    options: &ExecutionOptions,
    command_id: CommandId,
    folder: &Path,
    timeout_seconds: u64,
) -> Result<RunSpec, CannotRun> {
    let account = account_for(options)?;
    let written = write_files(script, account.as_ref(), folder);
    written.map_err(|error| CannotRun::because("cannot write the script", &error))?;
    let script_path = text_of(folder.join("script"))?;
    let mut arguments = vec![script_path];
    arguments.extend(script.args.iter().cloned());
    Ok(RunSpec {
        command_id,
        program: script.interpreter.clone(),
        arguments,
        environment: environment(script, options, command_id, account.as_ref())?,
        working_directory: options
            .working_directory
            .clone()
            .unwrap_or_else(|| "/".to_owned()),
        has_stdin: script.stdin.is_some(),
        account: account.map(|account| account.ids),
        timeout_ms: timeout_seconds.saturating_mul(1_000),
        cgroup: None,
    })
}

/// Says what would be run, and runs nothing.
pub fn dry_run(script: &RunScript, options: &ExecutionOptions) -> Outcome {
    let account = match account_for(options) {
        Ok(account) => account,
        Err(refusal) => return refusal.outcome(),
    };
    if let Err(error) = std::fs::metadata(&script.interpreter) {
        let message = format!("cannot run {}: {error}", script.interpreter);
        return Outcome::failed(FailureReason::AgentError, message);
    }
    let directory = options.working_directory.as_deref().unwrap_or("/");
    if !Path::new(directory).is_dir() {
        let message = format!("the working directory {directory} is not a folder");
        return Outcome::failed(FailureReason::AgentError, message);
    }
    let user = account.map_or_else(own_name, |account| account.name);
    Outcome {
        message: format!(
            "would run {} with a script of {} bytes and {} arguments as {user} in {directory}",
            script.interpreter,
            script.script.len(),
            script.args.len(),
        ),
        ..Outcome::succeeded(false)
    }
}

/// What to tell the server of an ended run; `None` if it provably never started.
pub fn outcome(record: ExitRecord) -> Option<Outcome> {
    let mut outcome = match record.ending {
        Ending::NeverStarted => return None,
        Ending::CannotRun { why } => Outcome::failed(FailureReason::AgentError, why),
        Ending::Exited { code: 0 } => Outcome::succeeded(true),
        Ending::Exited { code } => Outcome {
            exit_code: Some(code),
            ..Outcome::failed(FailureReason::ExitCode, format!("exited with code {code}"))
        },
        Ending::Signalled { signal } => Outcome {
            signal: Some(signal),
            ..Outcome::failed(FailureReason::ExitCode, format!("ended by signal {signal}"))
        },
        Ending::TimedOut => Outcome::failed(
            FailureReason::TimedOut,
            "ran out of time; all its processes were ended",
        ),
        Ending::Cancelled => Outcome::failed(
            FailureReason::Cancelled,
            "cancelled; all its processes were ended",
        ),
        Ending::StoppedFromOutside => Outcome::failed(
            FailureReason::AgentError,
            "ended together with its supervisor, which something on the host told to stop",
        ),
    };
    if outcome.status == OutcomeStatus::Succeeded {
        outcome.exit_code = Some(0);
    }
    if !record.output_trouble.is_empty() {
        if !outcome.message.is_empty() {
            outcome.message.push_str("; ");
        }
        outcome.message.push_str(&record.output_trouble);
    }
    outcome.duration_ms = record.duration_ms;
    outcome.stdout = record.stdout;
    outcome.stderr = record.stderr;
    Some(outcome)
}

fn write_files(
    script: &RunScript,
    account: Option<&Account>,
    folder: &Path,
) -> std::io::Result<()> {
    let owner = account.map(|account| &account.ids);
    run_folder::create(folder)?;
    run_folder::write(folder, "script", 0o700, script.script.as_bytes(), owner)?;
    if let Some(stdin) = &script.stdin {
        run_folder::write(folder, "stdin", 0o600, stdin.as_bytes(), None)?;
    }
    Ok(())
}

/// Nothing of the agent's own environment, and never a variable of the dynamic linker (refused by validation, and here
/// once more because this is where it would matter).
fn environment(
    script: &RunScript,
    options: &ExecutionOptions,
    command_id: CommandId,
    account: Option<&Account>,
) -> Result<BTreeMap<String, String>, CannotRun> {
    let home = match account {
        Some(account) => account.home.clone(),
        None => own_home()?,
    };
    let mut variables = BTreeMap::from([
        ("PATH".to_owned(), PATH.to_owned()),
        ("HOME".to_owned(), home),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
    ]);
    for (name, value) in options.environment.iter().chain(&script.env) {
        variables.insert(name.clone(), value.clone());
    }
    variables.retain(|name, _| !name.starts_with("LD_"));
    variables.insert(COMMAND_VARIABLE.to_owned(), command_id.to_string());
    Ok(variables)
}

fn own_home() -> Result<String, CannotRun> {
    // Asked once: the name service may be slow, and this process does not change accounts.
    static HOME: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    if let Some(home) = HOME.get() {
        return Ok(home.clone());
    }
    let account = accounts::own_account()
        .map_err(|error| CannotRun::because("cannot look up the agent's own account", &error))?;
    Ok(HOME.get_or_init(|| account.home).clone())
}

fn own_name() -> String {
    accounts::own_account()
        .map_or_else(|_| "the agent's account".to_owned(), |account| account.name)
}

fn text_of(path: PathBuf) -> Result<String, CannotRun> {
    path.into_os_string().into_string().map_err(|_| {
        CannotRun::Refused("the agent's data folder has a name that is not UTF-8".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetwright_protocol::outcome::OutputSummary;

    fn script() -> RunScript {
        RunScript {
            script: "echo hi\r\n".into(),
            interpreter: "/bin/sh".into(),
            args: vec!["a b".into()],
            env: BTreeMap::from([
                ("MODE".into(), "script".into()),
                ("LD_AUDIT".into(), "x".into()),
            ]),
            stdin: Some("in".into()),
        }
    }

    #[test]
    fn the_script_is_written_exactly_and_the_environment_is_clean() {
        let data = tempfile::tempdir().unwrap();
        let options = ExecutionOptions {
            environment: BTreeMap::from([
                ("MODE".into(), "options".into()),
                ("TERM".into(), "dumb".into()),
            ]),
            ..ExecutionOptions::default()
        };
        let id = CommandId(uuid::Uuid::nil());
        let folder = run_folder::path(data.path(), id, 1);
        let spec = prepare(&script(), &options, id, &folder, 5).unwrap();
        assert_eq!(
            std::fs::read(folder.join("script")).unwrap(),
            b"echo hi\r\n"
        );
        assert_eq!(spec.arguments[1], "a b");
        assert_eq!(spec.timeout_ms, 5_000);
        let names: Vec<&str> = spec.environment.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "FLEETWRIGHT_COMMAND_ID",
                "HOME",
                "LANG",
                "MODE",
                "PATH",
                "TERM"
            ]
        );
        assert_eq!(spec.environment["MODE"], "script");
    }

    #[test]
    fn only_an_exit_code_of_zero_is_success_and_a_run_that_never_was_has_no_outcome() {
        let of = |ending| {
            outcome(ExitRecord {
                ending,
                duration_ms: 3,
                stdout: OutputSummary::default(),
                stderr: OutputSummary::default(),
                output_trouble: String::new(),
            })
        };
        assert_eq!(of(Ending::NeverStarted), None);
        let good = of(Ending::Exited { code: 0 }).unwrap();
        assert_eq!(
            (good.status, good.changed, good.exit_code),
            (OutcomeStatus::Succeeded, true, Some(0))
        );
        for (ending, reason) in [
            (Ending::Exited { code: 1 }, FailureReason::ExitCode),
            (Ending::Signalled { signal: 9 }, FailureReason::ExitCode),
            (Ending::TimedOut, FailureReason::TimedOut),
            (Ending::Cancelled, FailureReason::Cancelled),
            (
                Ending::CannotRun { why: "x".into() },
                FailureReason::AgentError,
            ),
            (Ending::StoppedFromOutside, FailureReason::AgentError),
        ] {
            let bad = of(ending).unwrap();
            assert_eq!(
                (bad.status, bad.reason, bad.changed),
                (OutcomeStatus::Failed, Some(reason), false)
            );
        }
    }
}
