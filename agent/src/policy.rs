//! What this host allows, whatever the server says: which operations, as which accounts. Where files may be put is looked at
//! where they are put, by `guard`.

use fleetwright_protocol::{ExecutionOptions, Operation, OperationType};

use crate::accounts;
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
    if !policy.allow_users.is_empty() && !is_among(user, options, &policy.allow_users) {
        return Err(Refused(format!(
            "this host's policy does not allow running as {user}"
        )));
    }
    match operation {
        Operation::ApplyDeploymentPlan(plan) => plan
            .steps
            .iter()
            .try_for_each(|step| check(policy, &step.operation, options, own_user)),
        Operation::RunScript(_)
        | Operation::DeployFile(_)
        | Operation::ServiceControl(_)
        | Operation::InstallPackage(_)
        | Operation::RemovePackage(_)
        | Operation::Reboot(_)
        | Operation::Shutdown(_) => Ok(()),
    }
}

/// Whether the account is one of these, which are names or numbers. Two names of one number are one account. Numbers are
/// those of this host's own list of accounts: a directory server that does not answer must not hold up the agent.
fn is_among(user: &str, options: &ExecutionOptions, allowed: &[String]) -> bool {
    if allowed.iter().any(|allowed| allowed == user) {
        return true;
    }
    let list = accounts::local_list();
    let number = match options.run_as {
        Some(_) => accounts::number_in(&list, user),
        None => Some(rustix::process::geteuid().as_raw()),
    };
    let numbers = allowed.iter().filter_map(|allowed| match allowed.parse() {
        Ok(number) => Some(number),
        Err(_) => accounts::number_in(&list, allowed),
    });
    number.is_some_and(|number| numbers.into_iter().any(|allowed| allowed == number))
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

    #[test]
    fn an_account_is_the_same_under_each_of_its_names_and_its_number() {
        // Every host has these two.
        let own = rustix::process::geteuid().as_raw().to_string();
        let nobody = accounts::number_in(&accounts::local_list(), "nobody")
            .unwrap()
            .to_string();
        for (listed, run_as, expected) in [
            (own.as_str(), None, true),
            (nobody.as_str(), Some("nobody"), true),
            ("0", Some("root"), true),
            ("root", Some("nobody"), false),
            ("0", Some("nobody"), false),
            // A number is no name, whatever it is the number of.
            ("root", Some("0"), false),
            ("nobody", Some(nobody.as_str()), false),
            ("no-such-account", Some("nobody"), false),
            ("00", Some("root"), true),
            ("-1", Some("nobody"), false),
        ] {
            let policy = PolicySettings {
                allow_users: vec![listed.to_owned()],
                ..PolicySettings::default()
            };
            assert_eq!(
                allowed(&policy, &script(), run_as),
                expected,
                "{listed} {run_as:?}"
            );
        }
    }
}
