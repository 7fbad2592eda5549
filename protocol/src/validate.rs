//! Validation of operations: the same rules on the server (every error, with its place) and on the agent
//! (which trusts nobody). Pure; the text rules live in `validate/rules.rs`.

mod health;
mod plan;
mod rules;

use std::collections::BTreeMap;

use base64::Engine as _;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::limits::{PACKAGES_MAX, TIMEOUT_SECONDS_MAX};
use crate::operation::{
    DeployFile, ExecutionOptions, Operation, OperationType, Packages, PowerChange, RunScript,
    ServiceControl,
};
use crate::violation::Violation;

pub use health::health_check;
pub use rules::{absolute_path, sha256_hex};

/// Parses and checks one operation. Pointers in the violations start at `/operation_type` or `/parameters`.
/// Returns every violation found, not the first.
pub fn operation(operation_type: &str, parameters: &Value) -> Result<Operation, Vec<Violation>> {
    let Some(kind) = OperationType::from_name(operation_type) else {
        return Err(vec![Violation::new(
            "/operation_type",
            "operation-type-unknown",
            format!(
                "`{}` is not an operation type",
                rules::shown(operation_type)
            ),
        )]);
    };
    parameters_of(kind, parameters).map_err(|found| {
        found
            .into_iter()
            .map(|violation| violation.under("/parameters"))
            .collect()
    })
}

/// Checks how an operation is to be run. Pointers start at the option's own name.
pub fn options(options: &ExecutionOptions) -> Vec<Violation> {
    let mut found = Vec::new();
    if let Some(directory) = &options.working_directory {
        rules::path(&mut found, "/working_directory", directory);
    }
    environment(&mut found, "/environment", &options.environment);
    if let Some(user) = &options.run_as {
        rules::account(&mut found, "/run_as", user);
    }
    if let Some(check) = &options.health_check {
        let within = health::of(check).into_iter();
        found.extend(within.map(|violation| violation.under("/health_check")));
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

fn parameters_of(kind: OperationType, parameters: &Value) -> Result<Operation, Vec<Violation>> {
    match kind {
        OperationType::RunScript => {
            let script: RunScript = shape(
                parameters,
                &["script"],
                &["interpreter", "args", "env", "stdin"],
            )?;
            checked(run_script(&script), Operation::RunScript(script))
        }
        OperationType::DeployFile => {
            let optional = [
                "content",
                "content_base64",
                "blob_sha256",
                "mode",
                "owner",
                "group",
                "backup",
                "create_parents",
            ];
            let file: DeployFile = shape(parameters, &["path"], &optional)?;
            checked(deploy_file(&file), Operation::DeployFile(file))
        }
        OperationType::ServiceControl => {
            let control: ServiceControl = shape(parameters, &["service"], &["action", "ensure"])?;
            checked(
                service_control(&control),
                Operation::ServiceControl(control),
            )
        }
        OperationType::InstallPackage => {
            let list: Packages = shape(parameters, &["packages"], &["refresh", "purge"])?;
            checked(packages(&list), Operation::InstallPackage(list))
        }
        OperationType::RemovePackage => {
            let list: Packages = shape(parameters, &["packages"], &["refresh", "purge"])?;
            checked(packages(&list), Operation::RemovePackage(list))
        }
        OperationType::Reboot => {
            let change: PowerChange = shape(parameters, &[], &["delay_seconds", "message"])?;
            checked(power_change(&change), Operation::Reboot(change))
        }
        OperationType::Shutdown => {
            let change: PowerChange = shape(parameters, &[], &["delay_seconds", "message"])?;
            checked(power_change(&change), Operation::Shutdown(change))
        }
        OperationType::ApplyDeploymentPlan => {
            plan::plan(parameters).map(Operation::ApplyDeploymentPlan)
        }
    }
}

fn checked(found: Vec<Violation>, operation: Operation) -> Result<Operation, Vec<Violation>> {
    if found.is_empty() {
        Ok(operation)
    } else {
        Err(found)
    }
}

/// Checks names first (all unknown and all missing ones), then types, so that a typo is reported as a typo.
fn shape<T: DeserializeOwned>(
    value: &Value,
    required: &[&str],
    optional: &[&str],
) -> Result<T, Vec<Violation>> {
    let object = names(value, required, optional)?;
    serde_json::from_value(Value::Object(object.clone())).map_err(|error| {
        vec![Violation::new(
            "",
            "operation-parameter-invalid",
            error.to_string(),
        )]
    })
}

fn names<'a>(
    value: &'a Value,
    required: &[&str],
    optional: &[&str],
) -> Result<&'a Map<String, Value>, Vec<Violation>> {
    let Some(object) = value.as_object() else {
        return Err(vec![Violation::new(
            "",
            "operation-parameter-invalid",
            "must be an object",
        )]);
    };
    let mut found = Vec::new();
    for key in object.keys() {
        if !required.contains(&key.as_str()) && !optional.contains(&key.as_str()) {
            let pointer = format!("/{}", rules::pointer_token(key));
            found.push(Violation::new(
                pointer,
                "operation-parameter-unknown",
                "no such parameter",
            ));
        }
    }
    for key in required {
        if !object.contains_key(*key) {
            found.push(Violation::new(
                format!("/{key}"),
                "operation-parameter-missing",
                "is required",
            ));
        }
    }
    if found.is_empty() {
        Ok(object)
    } else {
        Err(found)
    }
}

fn run_script(script: &RunScript) -> Vec<Violation> {
    let mut found = Vec::new();
    if script.script.is_empty() {
        found.push(Violation::new(
            "/script",
            "operation-script-invalid",
            "must not be empty",
        ));
    }
    rules::no_nul(
        &mut found,
        "/script",
        "operation-script-invalid",
        &script.script,
    );
    rules::path(&mut found, "/interpreter", &script.interpreter);
    for (index, argument) in script.args.iter().enumerate() {
        let pointer = format!("/args/{index}");
        rules::no_nul(
            &mut found,
            &pointer,
            "operation-parameter-invalid",
            argument,
        );
    }
    environment(&mut found, "/env", &script.env);
    found
}

fn environment(found: &mut Vec<Violation>, pointer: &str, variables: &BTreeMap<String, String>) {
    for (name, value) in variables {
        let pointer = format!("{pointer}/{}", rules::pointer_token(name));
        rules::variable_name(found, &pointer, name);
        rules::no_nul(found, &pointer, "operation-environment-invalid", value);
    }
}

fn deploy_file(file: &DeployFile) -> Vec<Violation> {
    let mut found = Vec::new();
    rules::path(&mut found, "/path", &file.path);
    if file.path.ends_with('/') {
        found.push(Violation::new(
            "/path",
            "operation-path-invalid",
            "names a directory",
        ));
    }
    let sources = [
        file.content.is_some(),
        file.content_base64.is_some(),
        file.blob_sha256.is_some(),
    ];
    if sources.into_iter().filter(|set| *set).count() != 1 {
        found.push(Violation::new(
            "/content",
            "operation-content-invalid",
            "exactly one of content, content_base64, blob_sha256 is required",
        ));
    }
    if let Some(text) = &file.content_base64
        && base64::engine::general_purpose::STANDARD
            .decode(text)
            .is_err()
    {
        found.push(Violation::new(
            "/content_base64",
            "operation-content-invalid",
            "is not base64",
        ));
    }
    if let Some(digest) = &file.blob_sha256
        && !sha256_hex(digest)
    {
        let detail = "must be 64 lower-case hex digits";
        found.push(Violation::new(
            "/blob_sha256",
            "operation-content-invalid",
            detail,
        ));
    }
    if let Some(mode) = &file.mode {
        rules::mode(&mut found, "/mode", mode);
    }
    if let Some(owner) = &file.owner {
        rules::account(&mut found, "/owner", owner);
    }
    if let Some(group) = &file.group {
        rules::account(&mut found, "/group", group);
    }
    found
}

fn service_control(control: &ServiceControl) -> Vec<Violation> {
    let mut found = Vec::new();
    rules::service(&mut found, "/service", &control.service);
    if control.action.is_none() && control.ensure.is_none() {
        let detail = "one of action and ensure is required";
        found.push(Violation::new(
            "/action",
            "operation-parameter-missing",
            detail,
        ));
    }
    found
}

fn packages(list: &Packages) -> Vec<Violation> {
    let mut found = Vec::new();
    if list.packages.is_empty() || list.packages.len() > PACKAGES_MAX {
        let detail = format!("must name between 1 and {PACKAGES_MAX} packages");
        found.push(Violation::new(
            "/packages",
            "operation-package-invalid",
            detail,
        ));
    }
    for (index, package) in list.packages.iter().enumerate() {
        rules::package(&mut found, &format!("/packages/{index}"), package);
    }
    found
}

fn power_change(change: &PowerChange) -> Vec<Violation> {
    let mut found = Vec::new();
    if change.delay_seconds > 24 * 3600 {
        let detail = "must be at most a day";
        found.push(Violation::new(
            "/delay_seconds",
            "operation-parameter-invalid",
            detail,
        ));
    }
    if let Some(message) = &change.message {
        rules::no_nul(
            &mut found,
            "/message",
            "operation-parameter-invalid",
            message,
        );
    }
    found
}

#[cfg(test)]
mod tests;
