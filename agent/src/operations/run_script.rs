//! `run_script`: makes the folder of the run and says what its supervisor is to do.

use std::path::Path;

use fleetwright_protocol::operation::RunScript;
use fleetwright_protocol::outcome::FailureReason;
use fleetwright_protocol::{CommandId, ExecutionOptions, Outcome, SecretValues};

use super::{CannotRun, account_for, secrets, surroundings};
use crate::accounts::{self, Account};
use crate::run_folder;
use crate::supervisor::spec::RunSpec;

/// Writes the script (exactly as given) and its input into `folder`, which is made. Secrets are not written.
pub fn prepare(
    script: &RunScript,
    options: &ExecutionOptions,
    values: &SecretValues,
    command_id: CommandId,
    folder: &Path,
    timeout_seconds: u64,
) -> Result<RunSpec, CannotRun> {
    let account = account_for(options)?;
    let mut variables = secrets::variables(&options.environment, values)?;
    variables.extend(secrets::variables(&script.env, values)?);
    let stdin_secret = match &script.stdin_secret {
        Some(reference) => Some(secrets::value(reference, values)?.clone()),
        None => None,
    };
    let written = write_files(script, account.as_ref(), folder);
    written.map_err(|error| CannotRun::because("cannot write the script", &error))?;
    let script_path = surroundings::text_of(folder.join("script"))?;
    let mut arguments = vec![script_path];
    arguments.extend(script.args.iter().cloned());
    Ok(RunSpec {
        command_id,
        program: script.interpreter.clone(),
        arguments,
        environment: surroundings::environment(variables.iter(), command_id, account.as_ref())?,
        working_directory: options
            .working_directory
            .clone()
            .unwrap_or_else(|| "/".to_owned()),
        has_stdin: script.stdin.is_some(),
        stdin_secret,
        secrets: values.clone(),
        account: account.map(|account| account.ids),
        leaves_result: false,
        passes_on: false,
        is_plan: false,
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
        // Nobody knows what a script changes; one that runs counts.
        ..Outcome::succeeded(true)
    }
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

fn own_name() -> String {
    accounts::own_account()
        .map_or_else(|_| "the agent's account".to_owned(), |account| account.name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

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
            stdin_secret: None,
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
        let spec = prepare(&script(), &options, &SecretValues::new(), id, &folder, 5).unwrap();
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
}
