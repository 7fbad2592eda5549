//! What a plan for one operation is. Pure.

use fleetwright_protocol::{Operation, Violation};
use serde_json::{Value, json};

/// The plan's steps as JSON, in the form that `apply_deployment_plan` takes. A plan is taken as it is, because a plan
/// cannot hold a plan.
pub fn steps(operation_type: &str, parameters: &Value) -> Result<Value, Vec<Violation>> {
    let operation = fleetwright_protocol::validate::operation(operation_type, parameters)?;
    let steps = match &operation {
        Operation::ApplyDeploymentPlan(plan) => json!(plan.steps),
        Operation::RunScript(_)
        | Operation::DeployFile(_)
        | Operation::ServiceControl(_)
        | Operation::InstallPackage(_)
        | Operation::RemovePackage(_)
        | Operation::Reboot(_)
        | Operation::Shutdown(_) => json!([{
            "name": operation_type,
            "operation_type": operation_type,
            "parameters": parameters,
        }]),
    };
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetwright_protocol::validate;

    #[test]
    fn every_plan_is_accepted_as_a_deployment_plan() {
        let plan = json!({"steps": [
            {"name": "file", "operation_type": "deploy_file", "parameters": {"path": "/etc/motd", "content": "hi"}},
            {"name": "restart", "operation_type": "service_control", "parameters": {"service": "x", "action": "restart"},
             "when": {"changed": "file"}, "on_failure": "continue"},
        ]});
        let table = [
            ("run_script", json!({"script": "true"})),
            (
                "deploy_file",
                json!({"path": "/etc/motd", "content": "hi", "mode": "0644"}),
            ),
            (
                "service_control",
                json!({"service": "nginx", "ensure": "running"}),
            ),
            ("install_package", json!({"packages": ["nginx=1.2"]})),
            (
                "remove_package",
                json!({"packages": ["nginx"], "purge": true}),
            ),
            ("reboot", json!({})),
            ("shutdown", json!({"delay_seconds": 60})),
            ("apply_deployment_plan", plan),
        ];
        for (kind, parameters) in table {
            let steps = steps(kind, &parameters).unwrap();
            let plan = json!({"steps": steps});
            assert!(
                validate::operation("apply_deployment_plan", &plan).is_ok(),
                "{kind}: {plan}"
            );
        }
    }

    #[test]
    fn a_single_operation_is_one_step_with_its_own_parameters() {
        let parameters = json!({"script": "true"});
        let expected = json!([{"name": "run_script", "operation_type": "run_script", "parameters": parameters}]);
        assert_eq!(steps("run_script", &parameters).unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_with_the_operation_is_said_with_its_place() {
        let found = steps("run_script", &json!({"script": ""})).unwrap_err();
        assert!(found[0].pointer.starts_with("/parameters"), "{found:?}");
        assert!(steps("dance", &json!({})).is_err());
    }
}
