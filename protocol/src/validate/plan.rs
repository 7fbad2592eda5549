//! Validation of deployment plans: named steps, each an operation, never a plan inside a plan.

use std::collections::BTreeSet;

use serde_json::Value;

use super::shape::{names, under};
use super::single;
use crate::limits::{PLAN_STEPS_MAX, STEP_NAME_CHARS_MAX};
use crate::operation::{DeploymentPlan, OnFailure, OperationType, PlanStep, StepCondition};
use crate::text;
use crate::violation::Violation;

pub(super) fn plan(value: &Value) -> Result<DeploymentPlan, Vec<Violation>> {
    let object = names(value, &["steps"], &[])?;
    let Some(list) = object.get("steps").and_then(Value::as_array) else {
        return Err(vec![invalid("/steps", "must be an array")]);
    };
    if list.is_empty() || list.len() > PLAN_STEPS_MAX {
        return Err(vec![invalid(
            "/steps",
            &format!("must hold between 1 and {PLAN_STEPS_MAX} steps"),
        )]);
    }
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut steps = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        match step(value, &seen) {
            Ok(step) => {
                if !seen.insert(step.name.clone()) {
                    found.push(invalid(
                        &format!("/steps/{index}/name"),
                        "is used by an earlier step",
                    ));
                }
                steps.push(step);
            }
            Err(violations) => {
                let prefix = format!("/steps/{index}");
                found.extend(under(violations, &prefix));
            }
        }
    }
    found.extend(shutdowns_before_the_end(list));
    if found.is_empty() {
        Ok(DeploymentPlan { steps })
    } else {
        Err(found)
    }
}

/// A host that is off runs no further step.
fn shutdowns_before_the_end(steps: &[Value]) -> impl Iterator<Item = Violation> {
    let before_the_end = steps.iter().enumerate().take(steps.len().saturating_sub(1));
    before_the_end
        .filter(|(_, step)| {
            let kind = step.get("operation_type").and_then(Value::as_str);
            kind == Some(OperationType::Shutdown.as_str())
        })
        .map(|(index, _)| {
            let pointer = format!("/steps/{index}/operation_type");
            invalid(&pointer, "shutdown may only be the last step")
        })
}

fn step(value: &Value, seen: &BTreeSet<String>) -> Result<PlanStep, Vec<Violation>> {
    let object = names(
        value,
        &["name", "operation_type"],
        &["parameters", "on_failure", "when"],
    )?;
    let mut found = Vec::new();
    let name = object
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if name.is_empty() || !text::is_line(name, STEP_NAME_CHARS_MAX) {
        let detail = format!("must be 1 to {STEP_NAME_CHARS_MAX} printable characters");
        found.push(invalid("/name", &detail));
    }
    let on_failure = optional::<OnFailure>(object.get("on_failure"), "/on_failure", &mut found);
    let when = optional::<StepCondition>(object.get("when"), "/when", &mut found);
    if let Some(condition) = &when
        && !seen.contains(&condition.changed)
    {
        found.push(invalid("/when/changed", "names no earlier step"));
    }
    let kind_name = object
        .get("operation_type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let empty = Value::Object(serde_json::Map::new());
    let parameters = object.get("parameters").unwrap_or(&empty);
    match single::operation(kind_name, parameters) {
        Ok(operation) if found.is_empty() => Ok(PlanStep {
            name: name.to_owned(),
            operation: Box::new(operation),
            on_failure: on_failure.unwrap_or_default(),
            when,
        }),
        Ok(_) => Err(found),
        Err(mut more) => {
            found.append(&mut more);
            Err(found)
        }
    }
}

fn optional<T: serde::de::DeserializeOwned>(
    value: Option<&Value>,
    pointer: &str,
    found: &mut Vec<Violation>,
) -> Option<T> {
    match serde_json::from_value(value?.clone()) {
        Ok(parsed) => Some(parsed),
        Err(error) => {
            found.push(invalid(pointer, &error.to_string()));
            None
        }
    }
}

fn invalid(pointer: &str, detail: &str) -> Violation {
    Violation::new(pointer, "operation-plan-invalid", detail)
}
