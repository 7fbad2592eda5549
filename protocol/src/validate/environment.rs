//! Which operations the option `environment` is for: scripts, and the checks of hosts after them. What the agent runs by
//! itself (service managers, package managers) runs as root with a fixed environment: a list of the variables that change
//! what such a program does (`PATH`, `BASH_ENV`, `PERL5OPT` …) would never be complete.

use crate::operation::{Operation, OperationType};

pub(super) const CODE: &str = "operation-environment-invalid";

/// Whether the operation may be given variables.
pub fn takes_environment(operation: &Operation) -> bool {
    refusal(operation).is_none()
}

/// Why it may not, as a sentence for a person. A plan may if it has scripts, which alone are given them, and nothing
/// that the agent runs by itself; a file that is deployed runs nothing.
pub(super) fn refusal(operation: &Operation) -> Option<String> {
    let only = "environment is for run_script and its health check only";
    match operation {
        Operation::RunScript(_) => None,
        Operation::DeployFile(_)
        | Operation::ServiceControl(_)
        | Operation::InstallPackage(_)
        | Operation::RemovePackage(_)
        | Operation::Reboot(_)
        | Operation::Shutdown(_) => {
            let kind = operation.operation_type().as_str();
            Some(format!("{only}, not for {kind}"))
        }
        Operation::ApplyDeploymentPlan(plan) => {
            let kinds = || {
                plan.steps
                    .iter()
                    .map(|step| step.operation.operation_type())
            };
            let mut others = plan.steps.iter().enumerate();
            if let Some((index, step)) = others.find(|(_, step)| runs_tools(&step.operation)) {
                let kind = step.operation.operation_type().as_str();
                let hint = "give each script its own env";
                return Some(format!("{only}, and step {} is {kind}: {hint}", index + 1));
            }
            let has_script = kinds().any(|kind| kind == OperationType::RunScript);
            (!has_script).then(|| format!("{only}, and the plan has no script"))
        }
    }
}

fn runs_tools(operation: &Operation) -> bool {
    match operation {
        Operation::RunScript(_) | Operation::DeployFile(_) => false,
        Operation::ServiceControl(_)
        | Operation::InstallPackage(_)
        | Operation::RemovePackage(_)
        | Operation::Reboot(_)
        | Operation::Shutdown(_)
        | Operation::ApplyDeploymentPlan(_) => true,
    }
}
