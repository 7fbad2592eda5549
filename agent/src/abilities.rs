//! What this host can be asked to do: the operation types the agent knows, less those whose tools the host lacks.

use fleetwright_protocol::outcome::FailureReason;
use fleetwright_protocol::{OperationType, Outcome};

use crate::config::SystemSettings;
use crate::executor::Executor;
use crate::job::{self, Job};
use crate::journal::PowerKind;
use crate::operations::packages::Manager;
use crate::operations::power;
use crate::operations::service_control::ServiceManager;
use crate::plan::decide::Contents;
use crate::plan::report;
use crate::policy::{self, Refused};

/// Why the host cannot carry out operations of this type, if it cannot. Looks at the host anew: tools come and go.
pub fn check(kind: OperationType, system: &SystemSettings) -> Result<(), String> {
    match kind {
        OperationType::ServiceControl => {
            ServiceManager::detect(system.service_manager.as_ref()).map(drop)
        }
        OperationType::Reboot => power(PowerKind::Reboot, &system.reboot_command),
        OperationType::Shutdown => power(PowerKind::Shutdown, &system.shutdown_command),
        OperationType::InstallPackage | OperationType::RemovePackage => {
            Manager::detect(system.package_manager.as_deref()).map(drop)
        }
        OperationType::RunScript
        | OperationType::DeployFile
        | OperationType::ApplyDeploymentPlan => Ok(()),
    }
}

/// The answer to a plan that cannot be carried out as it is: `refused` by the policy, or because of a step this host
/// has no tools for. Nothing of it is begun.
pub fn plan_refusal(executor: &Executor, job: &Job, refused: Option<Refused>) -> Option<Outcome> {
    let plan = Contents::of(&job.operation, &job.options);
    let own_user = &executor.own_user;
    for (index, step) in plan.steps.iter().enumerate() {
        let operation = &step.operation;
        if let Err(why) = policy::check(&executor.policy, operation, &job.options, own_user) {
            let reason = FailureReason::RefusedByPolicy;
            return Some(report::refused(&plan, index, reason, &why.to_string()));
        }
    }
    if let Some(why) = refused {
        return Some(Outcome::failed(
            FailureReason::RefusedByPolicy,
            why.to_string(),
        ));
    }
    for (index, step) in plan.steps.iter().enumerate() {
        if let Err(why) = check(step.operation.operation_type(), &executor.system) {
            let why = format!("this host cannot do it: {why}");
            return Some(report::refused(
                &plan,
                index,
                FailureReason::AgentError,
                &why,
            ));
        }
    }
    None
}

fn power(kind: PowerKind, configured: &Option<Vec<String>>) -> Result<(), String> {
    power::command(kind, configured.as_deref(), None).map(drop)
}

/// The types this host carries out.
pub fn operations(system: &SystemSettings) -> Vec<OperationType> {
    job::SUPPORTED
        .into_iter()
        .filter(|kind| check(*kind, system).is_ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServiceManagerSetting;

    #[test]
    fn a_host_without_a_service_manager_does_not_claim_to_control_services() {
        for (setting, expected) in [
            (ServiceManagerSetting::None, false),
            (ServiceManagerSetting::Systemd, true),
        ] {
            let system = SystemSettings {
                service_manager: Some(setting),
                ..SystemSettings::default()
            };
            let claimed = operations(&system);
            assert!(claimed.contains(&OperationType::RunScript));
            assert_eq!(claimed.contains(&OperationType::ServiceControl), expected);
        }
    }
}
