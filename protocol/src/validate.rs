//! Validation of operations: the same rules on the server (every error, with its place) and on the agent
//! (which trusts nobody). Pure. A plan is `plan`, any other operation `single`; the rules for texts are `rules`.

mod health;
mod plan;
mod rules;
mod shape;
mod single;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::limits::{SECRETS_MAX, TIMEOUT_SECONDS_MAX};
use crate::operation::{ExecutionOptions, Operation, OperationType};
use crate::references::references;
use crate::violation::Violation;

pub use health::health_check;
pub use rules::{absolute_path, sha256_hex};

/// Parses and checks one operation. Pointers in the violations start at `/operation_type` or `/parameters`.
/// Returns every violation found, not the first.
pub fn operation(operation_type: &str, parameters: &Value) -> Result<Operation, Vec<Violation>> {
    if operation_type != OperationType::ApplyDeploymentPlan.as_str() {
        return single::operation(operation_type, parameters);
    }
    plan::plan(parameters)
        .map(Operation::ApplyDeploymentPlan)
        .map_err(|found| shape::under(found, "/parameters"))
}

/// Checks how an operation is to be run. Pointers start at the option's own name.
pub fn options(options: &ExecutionOptions) -> Vec<Violation> {
    let mut found = Vec::new();
    if let Some(directory) = &options.working_directory {
        rules::path(&mut found, "/working_directory", directory);
    }
    rules::environment(&mut found, "/environment", &options.environment);
    if let Some(user) = &options.run_as {
        rules::account(&mut found, "/run_as", user);
    }
    if let Some(check) = &options.health_check {
        found.extend(shape::under(health::of(check), "/health_check"));
    }
    found
}

/// Checks what an operation and the way it is run demand of each other. Pointers as in [`options`].
pub fn together(operation: &Operation, options: &ExecutionOptions) -> Vec<Violation> {
    let goes_for_good = match operation {
        Operation::Shutdown(_) => true,
        Operation::ApplyDeploymentPlan(plan) => plan.ends_in_shutdown(),
        Operation::RunScript(_)
        | Operation::DeployFile(_)
        | Operation::ServiceControl(_)
        | Operation::InstallPackage(_)
        | Operation::RemovePackage(_)
        | Operation::Reboot(_) => false,
    };
    if goes_for_good && options.health_check.is_some() {
        let detail = "a host that was shut down cannot be checked";
        return vec![Violation::new("/health_check", health::CODE, detail)];
    }
    let named = references(operation, options);
    let different: BTreeSet<_> = named.iter().map(|placed| &placed.reference).collect();
    if let Some(last) = named.last().filter(|_| different.len() > SECRETS_MAX) {
        let detail = format!("at most {SECRETS_MAX} different secrets");
        let pointer = last.pointer.as_str();
        return vec![Violation::new(pointer, "operation-secret-invalid", detail)];
    }
    Vec::new()
}

/// Checks a run's time limit in seconds.
pub fn timeout_seconds(seconds: i64) -> Result<u64, Violation> {
    u64::try_from(seconds)
        .ok()
        .filter(|seconds| (1..=TIMEOUT_SECONDS_MAX).contains(seconds))
        .ok_or_else(|| {
            Violation::new(
                "/timeout_seconds",
                "operation-timeout-invalid",
                format!("must be between 1 and {TIMEOUT_SECONDS_MAX}"),
            )
        })
}

#[cfg(test)]
mod tests;
