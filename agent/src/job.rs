//! A command's operation, checked and ready to run: what `core` queues. Pure.

use fleetwright_protocol::limits::{SECRETS_BYTES_MAX, SECRETS_MAX};
use fleetwright_protocol::references::references;
use fleetwright_protocol::time_limit::operation_seconds;
use fleetwright_protocol::validate;
use fleetwright_protocol::{ExecutionOptions, Operation, OperationType, SecretValues, Violation};
use serde_json::Value;

use crate::journal::{Execution, PlanRun, PowerKind, PowerRun};

/// The operation types this agent carries out, on a host that has what they need; see `abilities`.
pub const SUPPORTED: [OperationType; 8] = [
    OperationType::RunScript,
    OperationType::DeployFile,
    OperationType::ServiceControl,
    OperationType::InstallPackage,
    OperationType::RemovePackage,
    OperationType::Reboot,
    OperationType::Shutdown,
    OperationType::ApplyDeploymentPlan,
];

/// Said of what is wrong with an operation; enough for a dozen sentences.
const WORDS_CHARS_MAX: usize = 2_000;

#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub operation: Operation,
    pub options: ExecutionOptions,
    /// For the operation; a health check has its own.
    pub timeout_seconds: u64,
    /// The values of those it names. They stand nowhere else.
    pub secrets: SecretValues,
}

impl Job {
    /// With the secrets that came with it: all it names, and no others, and no more of them than a server may send.
    pub fn with_secrets(mut self, given: &SecretValues) -> Result<Self, BadJob> {
        for placed in references(&self.operation, &self.options) {
            let key = placed.reference.key();
            let value = given.get(&key).ok_or_else(|| {
                let (pointer, name) = (&placed.pointer, &placed.reference.secret);
                BadJob::Invalid(format!(
                    "{pointer} the secret {name} did not come with the command"
                ))
            })?;
            self.secrets.insert(key, value.clone());
            let (number, bytes) = (self.secrets.len(), self.secrets_bytes());
            if number > SECRETS_MAX || bytes > SECRETS_BYTES_MAX {
                let pointer = &placed.pointer;
                return Err(BadJob::Invalid(format!(
                    "{pointer} the secrets are too many or too long: at most {SECRETS_MAX}, and {SECRETS_BYTES_MAX} bytes"
                )));
            }
        }
        Ok(self)
    }

    /// How much of this host's memory its secrets take.
    pub fn secrets_bytes(&self) -> usize {
        let lengths = self.secrets.values().map(|value| value.bytes().len());
        lengths.sum()
    }

    /// Where it runs, if it starts now. Whatever runs programs needs a process that outlives the agent.
    pub fn execution(&self, now_unix_ms: u64) -> Execution {
        let deadline_unix_ms =
            now_unix_ms.saturating_add(self.timeout_seconds.saturating_mul(1_000));
        let changes_power = !self.options.dry_run && changes_power(&self.operation);
        if self.is_plan() {
            return Execution::Plan(PlanRun {
                changes_power,
                deadline_unix_ms,
            });
        }
        let power = |kind| {
            Execution::Power(PowerRun {
                kind,
                deadline_unix_ms,
            })
        };
        match &self.operation {
            Operation::RunScript(_) if self.options.dry_run => Execution::InProcess,
            Operation::Reboot(_) if changes_power => power(PowerKind::Reboot),
            Operation::Shutdown(_) if changes_power => power(PowerKind::Shutdown),
            Operation::RunScript(_)
            | Operation::ServiceControl(_)
            | Operation::InstallPackage(_)
            | Operation::RemovePackage(_)
            | Operation::Reboot(_)
            | Operation::Shutdown(_)
            | Operation::ApplyDeploymentPlan(_) => Execution::Supervised,
            Operation::DeployFile(_) => Execution::InProcess,
        }
    }

    /// Whether nothing may run beside it.
    pub fn is_barrier(&self) -> bool {
        self.execution(0).is_barrier()
    }

    /// Whether it is several things, one after the other: a plan, or an operation and the check of its host.
    fn is_plan(&self) -> bool {
        let is_plan = self.operation.operation_type() == OperationType::ApplyDeploymentPlan;
        is_plan || (self.options.health_check.is_some() && !self.options.dry_run)
    }
}

fn changes_power(operation: &Operation) -> bool {
    match operation {
        Operation::Reboot(_) | Operation::Shutdown(_) => true,
        Operation::ApplyDeploymentPlan(plan) => {
            plan.steps.iter().any(|step| changes_power(&step.operation))
        }
        Operation::RunScript(_)
        | Operation::DeployFile(_)
        | Operation::ServiceControl(_)
        | Operation::InstallPackage(_)
        | Operation::RemovePackage(_) => false,
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadJob {
    /// A type this agent does not carry out, now or yet.
    #[error("this agent does not carry out {0}")]
    Unsupported(String),
    #[error("the operation is not valid: {0}")]
    Invalid(String),
}

/// Reads `{"operation_type", "parameters", "options"}` and checks it as the server did: the agent trusts nobody.
/// `run_seconds` is the time for all of it, as a command says.
pub fn parse(operation: &Value, run_seconds: u64) -> Result<Job, BadJob> {
    parse_timed(operation, |options| operation_seconds(run_seconds, options))
}

/// As [`parse`]; `timeout_seconds` says how long the operation itself may take.
pub fn parse_timed(
    operation: &Value,
    timeout_seconds: impl FnOnce(&ExecutionOptions) -> u64,
) -> Result<Job, BadJob> {
    let name = operation
        .get("operation_type")
        .and_then(Value::as_str)
        .ok_or_else(|| BadJob::Invalid("/operation_type is required".to_owned()))?;
    let supported = OperationType::from_name(name).is_some_and(|kind| SUPPORTED.contains(&kind));
    if !supported {
        return Err(BadJob::Unsupported(
            name.chars().filter(|c| !c.is_control()).take(64).collect(),
        ));
    }
    let empty = Value::Object(serde_json::Map::new());
    let parameters = operation.get("parameters").unwrap_or(&empty);
    let parsed = validate::operation(name, parameters).map_err(|found| invalid(&found))?;
    let options = match operation.get("options") {
        None | Some(Value::Null) => ExecutionOptions::default(),
        Some(options) => serde_json::from_value(options.clone())
            .map_err(|error| invalid(&[Violation::new("/options", "", error.to_string())]))?,
    };
    let mut found: Vec<Violation> = validate::options(&options)
        .into_iter()
        .map(|violation| violation.under("/options"))
        .collect();
    found.extend(
        validate::together(&parsed, &options)
            .into_iter()
            .map(|violation| violation.under("/options")),
    );
    let timeout_seconds = timeout_seconds(&options);
    let seconds = i64::try_from(timeout_seconds).unwrap_or(i64::MAX);
    found.extend(validate::timeout_seconds(seconds).err());
    if found.is_empty() {
        Ok(Job {
            operation: parsed,
            options,
            timeout_seconds,
            secrets: SecretValues::new(),
        })
    } else {
        Err(invalid(&found))
    }
}

fn invalid(found: &[Violation]) -> BadJob {
    let sentences: Vec<String> = found
        .iter()
        .map(|violation| format!("{} {}", violation.pointer, violation.detail))
        .collect();
    let mut words = sentences.join("; ");
    // A result is kept until it is acknowledged, and what is wrong may be as long as the operation.
    if let Some((end, _)) = words.char_indices().nth(WORDS_CHARS_MAX) {
        words.truncate(end);
        words.push('…');
    }
    BadJob::Invalid(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetwright_protocol::SecretValue;
    use serde_json::json;

    #[test]
    fn of_secrets_a_job_takes_as_many_bytes_as_a_server_may_send_and_none_it_does_not_name() {
        let operation = json!({
            "operation_type": "run_script",
            "parameters": {"script": "x", "env": {"A": {"secret": "a"}, "B": {"secret": "b"}, "C": {"secret": "a"}}},
        });
        for (bytes, is_taken) in [(SECRETS_BYTES_MAX, true), (SECRETS_BYTES_MAX + 1, false)] {
            let given = [
                ("a", bytes / 2),
                ("b", bytes.div_ceil(2)),
                ("other", SECRETS_BYTES_MAX),
            ];
            let given = given
                .map(|(name, bytes)| (name.to_owned(), SecretValue::new(vec![b'x'; bytes])))
                .into();
            match parse(&operation, 60).unwrap().with_secrets(&given) {
                Ok(job) => assert!(is_taken && job.secrets_bytes() == bytes, "{bytes}"),
                Err(error) => assert!(!is_taken, "{bytes}: {error}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_carried_out_is_told_apart_from_what_is_wrong() {
        let script = json!({"operation_type": "run_script", "parameters": {"script": "true"}});
        assert!(parse(&script, 60).is_ok());
        let unknown = json!({"operation_type": "dance", "parameters": {}});
        assert_eq!(
            parse(&unknown, 60),
            Err(BadJob::Unsupported("dance".to_owned()))
        );
        for (operation, timeout) in [
            (json!({}), 60),
            (
                json!({"operation_type": "run_script", "parameters": {"script": ""}}),
                60,
            ),
            (
                json!({"operation_type": "run_script", "parameters": {"script": "x", "nice": 1}}),
                60,
            ),
            (
                json!({"operation_type": "run_script", "parameters": {"script": "x"}, "options": {"mood": 1}}),
                60,
            ),
            (
                json!({"operation_type": "run_script", "parameters": {"script": "x"}, "options": {"run_as": "-x"}}),
                60,
            ),
            (script, 0),
        ] {
            let parsed = parse(&operation, timeout);
            assert!(
                matches!(parsed, Err(BadJob::Invalid(_))),
                "{operation} gave {parsed:?}"
            );
        }
    }
}
