//! Validation of health checks.

use serde_json::Value;

use super::rules;
use super::shape::names;
use crate::health_check::HealthCheck;
use crate::limits::HEALTH_CHECK_SECONDS_MAX;
use crate::violation::Violation;

pub(super) const CODE: &str = "operation-health-check-invalid";

/// Parses and checks a health check as a client sends it. Pointers start at its own fields. Returns every violation
/// found, not the first.
pub fn health_check(value: &Value) -> Result<HealthCheck, Vec<Violation>> {
    let numbers = [
        "timeout_seconds",
        "retries",
        "interval_seconds",
        "soak_seconds",
    ];
    let object = names(value, &["script"], &numbers)?;
    let mut found = Vec::new();
    if !object.get("script").is_some_and(Value::is_string) {
        found.push(invalid("/script", "must be a text"));
    }
    for name in numbers {
        if object.get(name).is_some_and(|number| !number.is_u64()) {
            found.push(invalid(
                &format!("/{name}"),
                "must be a whole number, not below 0",
            ));
        }
    }
    if !found.is_empty() {
        return Err(found);
    }
    let check: HealthCheck = serde_json::from_value(value.clone())
        .map_err(|error| vec![invalid("", &error.to_string())])?;
    let found = of(&check);
    if found.is_empty() {
        Ok(check)
    } else {
        Err(found)
    }
}

pub(super) fn of(check: &HealthCheck) -> Vec<Violation> {
    let mut found = Vec::new();
    if check.script.is_empty() {
        found.push(invalid("/script", "must not be empty"));
    }
    rules::no_nul(&mut found, "/script", CODE, &check.script);
    if check.timeout_seconds == 0 {
        found.push(invalid("/timeout_seconds", "must be at least 1"));
    }
    if check.seconds() > HEALTH_CHECK_SECONDS_MAX {
        let detail = format!(
            "soak_seconds + timeout_seconds + retries × (interval_seconds + timeout_seconds) must be at most \
             {HEALTH_CHECK_SECONDS_MAX}"
        );
        found.push(invalid("", &detail));
    }
    found
}

fn invalid(pointer: &str, detail: &str) -> Violation {
    Violation::new(pointer, CODE, detail)
}
