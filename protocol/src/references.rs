//! Where an operation names secrets.

use std::collections::BTreeMap;

use crate::operation::{DeployFile, ExecutionOptions, Operation, RunScript};
use crate::secret::{EnvironmentValue, SecretRef};

/// A reference, with the place where it stands: a pointer as in violations (`/parameters/env/PASSWORD`, `/environment/X`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedRef {
    pub pointer: String,
    pub reference: SecretRef,
    pub is_variable: bool,
}

/// Every reference of an operation and of the way it is run.
pub fn references(operation: &Operation, options: &ExecutionOptions) -> Vec<PlacedRef> {
    let mut found = Vec::new();
    of_variables(&mut found, "/environment", &options.environment);
    of_operation(&mut found, "/parameters", operation);
    found
}

fn of_operation(found: &mut Vec<PlacedRef>, at: &str, operation: &Operation) {
    match operation {
        Operation::RunScript(script) => of_script(found, at, script),
        Operation::DeployFile(file) => of_file(found, at, file),
        Operation::ApplyDeploymentPlan(plan) => {
            for (index, step) in plan.steps.iter().enumerate() {
                let at = format!("{at}/steps/{index}/parameters");
                of_operation(found, &at, &step.operation);
            }
        }
        Operation::ServiceControl(_)
        | Operation::InstallPackage(_)
        | Operation::RemovePackage(_)
        | Operation::Reboot(_)
        | Operation::Shutdown(_) => {}
    }
}

fn of_script(found: &mut Vec<PlacedRef>, at: &str, script: &RunScript) {
    of_variables(found, &format!("{at}/env"), &script.env);
    of_field(
        found,
        format!("{at}/stdin_secret"),
        script.stdin_secret.as_ref(),
    );
}

fn of_file(found: &mut Vec<PlacedRef>, at: &str, file: &DeployFile) {
    let reference = file.content_secret.as_ref();
    of_field(found, format!("{at}/content_secret"), reference);
}

fn of_field(found: &mut Vec<PlacedRef>, pointer: String, reference: Option<&SecretRef>) {
    found.extend(reference.map(|reference| PlacedRef {
        pointer,
        reference: reference.clone(),
        is_variable: false,
    }));
}

fn of_variables(
    found: &mut Vec<PlacedRef>,
    at: &str,
    variables: &BTreeMap<String, EnvironmentValue>,
) {
    for (name, value) in variables {
        found.extend(value.reference().map(|reference| PlacedRef {
            pointer: format!("{at}/{name}"),
            reference,
            is_variable: true,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate;
    use serde_json::{Value, json};

    #[test]
    fn every_reference_is_found_where_it_stands_and_the_operation_reads_back() {
        let step = |kind: &str, parameters: Value| json!({"name": kind, "operation_type": kind, "parameters": parameters});
        let plan = json!({"steps": [
            step("run_script", json!({"script": "true", "env": {"A": "x", "B": {"secret": "b", "version": 2}}, "stdin_secret": "in"})),
            step("deploy_file", json!({"path": "/x", "content_secret": {"secret": "c/d"}})),
        ]});
        let operation = validate::operation("apply_deployment_plan", &plan).unwrap();
        let options: ExecutionOptions =
            serde_json::from_value(json!({"environment": {"E": {"secret": "e"}}})).unwrap();
        let found: Vec<(String, String)> = references(&operation, &options)
            .into_iter()
            .map(|placed| (placed.pointer, placed.reference.key()))
            .collect();
        let expected = [
            ("/environment/E", "e"),
            ("/parameters/steps/0/parameters/env/B", "b@2"),
            ("/parameters/steps/0/parameters/stdin_secret", "in"),
            ("/parameters/steps/1/parameters/content_secret", "c/d"),
        ];
        let expected = expected.map(|(at, key)| (at.to_owned(), key.to_owned()));
        assert_eq!(found, expected);
        let written = serde_json::to_value(&operation).unwrap();
        let again = validate::operation("apply_deployment_plan", &written["parameters"]);
        assert_eq!(again.unwrap(), operation);
    }
}
