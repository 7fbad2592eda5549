//! A command's operation, checked and ready to run: what `core` queues. Pure.

use fleetwright_protocol::validate;
use fleetwright_protocol::{ExecutionOptions, Operation, OperationType, Violation};
use serde_json::Value;

use crate::journal::{Execution, PowerKind, PowerRun};

/// The operation types this agent carries out, on a host that has what they need; see `abilities`.
pub const SUPPORTED: [OperationType; 7] = [
    OperationType::RunScript,
    OperationType::DeployFile,
    OperationType::ServiceControl,
    OperationType::InstallPackage,
    OperationType::RemovePackage,
    OperationType::Reboot,
    OperationType::Shutdown,
];

#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub operation: Operation,
    pub options: ExecutionOptions,
    pub timeout_seconds: u64,
}

impl Job {
    /// Where it runs, if it starts now. Whatever runs programs needs a process that outlives the agent.
    pub fn execution(&self, now_unix_ms: u64) -> Execution {
        let power = |kind| {
            Execution::Power(PowerRun {
                kind,
                deadline_unix_ms: now_unix_ms
                    .saturating_add(self.timeout_seconds.saturating_mul(1_000)),
            })
        };
        match &self.operation {
            Operation::RunScript(_) if self.options.dry_run => Execution::InProcess,
            Operation::Reboot(_) if !self.options.dry_run => power(PowerKind::Reboot),
            Operation::Shutdown(_) if !self.options.dry_run => power(PowerKind::Shutdown),
            Operation::RunScript(_)
            | Operation::ServiceControl(_)
            | Operation::InstallPackage(_)
            | Operation::RemovePackage(_)
            | Operation::Reboot(_)
            | Operation::Shutdown(_) => Execution::Supervised,
            Operation::DeployFile(_) | Operation::ApplyDeploymentPlan(_) => Execution::InProcess,
        }
    }

    /// Whether nothing may run beside it.
    pub fn is_barrier(&self) -> bool {
        self.execution(0).power().is_some()
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
pub fn parse(operation: &Value, timeout_seconds: u64) -> Result<Job, BadJob> {
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
            .map_err(|error| BadJob::Invalid(format!("/options: {error}")))?,
    };
    let mut found: Vec<Violation> = validate::options(&options)
        .into_iter()
        .map(|violation| violation.under("/options"))
        .collect();
    if options.health_check.is_some() {
        return Err(BadJob::Unsupported(format!("{name} with a health check")));
    }
    let seconds = i64::try_from(timeout_seconds).unwrap_or(i64::MAX);
    found.extend(validate::timeout_seconds(seconds).err());
    if found.is_empty() {
        Ok(Job {
            operation: parsed,
            options,
            timeout_seconds,
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
    BadJob::Invalid(sentences.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_cannot_be_carried_out_is_told_apart_from_what_is_wrong() {
        let script = json!({"operation_type": "run_script", "parameters": {"script": "true"}});
        assert!(parse(&script, 60).is_ok());
        for kind in ["apply_deployment_plan", "dance"] {
            let operation = json!({"operation_type": kind, "parameters": {}});
            assert_eq!(
                parse(&operation, 60),
                Err(BadJob::Unsupported(kind.to_owned()))
            );
        }
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
