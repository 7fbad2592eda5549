//! What this host allows, whatever the server says. Pure: paths are compared as text, which is sound because nothing
//! is ever deployed through a symbolic link.

use fleetwright_protocol::{ExecutionOptions, Operation, OperationType};

use crate::config::PolicySettings;

/// A refusal, as a sentence for a person.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// Whether the policy lets this operation run. `own_user` is the account the agent runs as.
pub fn check(
    policy: &PolicySettings,
    operation: &Operation,
    options: &ExecutionOptions,
    own_user: &str,
) -> Result<(), Refused> {
    let kind = operation.operation_type();
    if !policy.allow_operations.is_empty() && !policy.allow_operations.contains(&kind) {
        return Err(Refused(format!(
            "this host's policy does not allow {}",
            kind.as_str()
        )));
    }
    let script = OperationType::RunScript;
    let checks = options.health_check.is_some();
    if checks && !policy.allow_operations.is_empty() && !policy.allow_operations.contains(&script) {
        return Err(Refused(format!(
            "this host's policy does not allow {}, which a health check is",
            script.as_str()
        )));
    }
    let user = options.run_as.as_deref().unwrap_or(own_user);
    if !policy.allow_users.is_empty() && !policy.allow_users.iter().any(|allowed| allowed == user) {
        return Err(Refused(format!(
            "this host's policy does not allow running as {user}"
        )));
    }
    match operation {
        Operation::DeployFile(file) => check_path(policy, &file.path),
        Operation::ApplyDeploymentPlan(plan) => plan
            .steps
            .iter()
            .try_for_each(|step| check(policy, &step.operation, options, own_user)),
        Operation::RunScript(_)
        | Operation::ServiceControl(_)
        | Operation::InstallPackage(_)
        | Operation::RemovePackage(_)
        | Operation::Reboot(_)
        | Operation::Shutdown(_) => Ok(()),
    }
}

fn check_path(policy: &PolicySettings, path: &str) -> Result<(), Refused> {
    if let Some(denied) = policy
        .deny_paths
        .iter()
        .find(|denied| lies_in(path, denied))
    {
        return Err(Refused(format!("this host's policy denies {denied}")));
    }
    if !policy.allow_paths.is_empty()
        && !policy
            .allow_paths
            .iter()
            .any(|allowed| lies_in(path, allowed))
    {
        return Err(Refused(format!("this host's policy does not allow {path}")));
    }
    Ok(())
}

/// Whether `path` is `folder` or lies in it, part by part; empty parts and `.` do not count.
fn lies_in(path: &str, folder: &str) -> bool {
    let mut parts = parts(path);
    self::parts(folder).all(|part| parts.next() == Some(part))
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetwright_protocol::operation::{DeployFile, RunScript};

    fn deploy(path: &str) -> Operation {
        Operation::DeployFile(DeployFile {
            path: path.into(),
            ..DeployFile::default()
        })
    }

    fn script() -> Operation {
        Operation::RunScript(RunScript {
            script: "true".into(),
            interpreter: "/bin/sh".into(),
            args: Vec::new(),
            env: std::collections::BTreeMap::new(),
            stdin: None,
            stdin_secret: None,
        })
    }

    fn allowed(policy: &PolicySettings, operation: &Operation, run_as: Option<&str>) -> bool {
        let options = ExecutionOptions {
            run_as: run_as.map(str::to_owned),
            ..ExecutionOptions::default()
        };
        check(policy, operation, &options, "root").is_ok()
    }

    #[test]
    fn paths_compare_part_by_part_and_denied_ones_win() {
        let policy = PolicySettings {
            allow_paths: vec!["/etc".into()],
            deny_paths: vec!["/etc/ssh".into(), "/etc/shadow".into()],
            ..PolicySettings::default()
        };
        for (path, expected) in [
            ("/etc/motd", true),
            ("/etc/sshx", true),
            ("/etc/ssh/sshd_config", false),
            ("/etc//./ssh/x", false),
            ("/etc/shadow", false),
            ("/etcetera", false),
            ("/srv/x", false),
        ] {
            assert_eq!(allowed(&policy, &deploy(path), None), expected, "{path}");
        }
    }

    #[test]
    fn operations_and_users_are_restricted_only_when_listed() {
        assert!(allowed(
            &PolicySettings::default(),
            &script(),
            Some("anyone")
        ));
        let files_only = PolicySettings {
            allow_operations: vec![OperationType::DeployFile],
            ..PolicySettings::default()
        };
        assert!(
            allowed(&files_only, &deploy("/x"), None) && !allowed(&files_only, &script(), None)
        );
        let web_only = PolicySettings {
            allow_users: vec!["www".into()],
            ..PolicySettings::default()
        };
        assert!(allowed(&web_only, &script(), Some("www")));
        assert!(
            !allowed(&web_only, &script(), None),
            "the agent's own account is not listed"
        );
    }
}
