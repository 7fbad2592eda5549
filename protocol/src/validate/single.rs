//! Validation of an operation that is no plan: one of its own, or a step of a plan.

use base64::Engine as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::rules::{self, sha256_hex};
use super::shape::{shape, under};
use crate::limits::PACKAGES_MAX;
use crate::operation::{
    DeployFile, Operation, OperationType, Packages, PowerChange, RunScript, ServiceControl,
};
use crate::violation::Violation;

/// What may be left out of the operations on packages, and of those on the machine's power.
const OF_PACKAGES: [&str; 2] = ["refresh", "purge"];
const OF_POWER: [&str; 2] = ["delay_seconds", "message"];

/// Parses and checks it. Pointers start at `/operation_type` or `/parameters`.
pub(super) fn operation(
    operation_type: &str,
    parameters: &Value,
) -> Result<Operation, Vec<Violation>> {
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
    let read = match kind {
        OperationType::RunScript => {
            let optional = ["interpreter", "args", "env", "stdin", "stdin_secret"];
            let make = Operation::RunScript;
            read(parameters, &["script"], &optional, run_script, make)
        }
        OperationType::DeployFile => {
            let optional = [
                "content",
                "content_base64",
                "blob_sha256",
                "content_secret",
                "mode",
                "owner",
                "group",
                "backup",
                "create_parents",
            ];
            let make = Operation::DeployFile;
            read(parameters, &["path"], &optional, deploy_file, make)
        }
        OperationType::ServiceControl => {
            let optional = ["action", "ensure"];
            let make = Operation::ServiceControl;
            read(parameters, &["service"], &optional, service_control, make)
        }
        OperationType::InstallPackage => {
            let make = Operation::InstallPackage;
            read(parameters, &["packages"], &OF_PACKAGES, packages, make)
        }
        OperationType::RemovePackage => {
            let make = Operation::RemovePackage;
            read(parameters, &["packages"], &OF_PACKAGES, packages, make)
        }
        OperationType::Reboot => read(parameters, &[], &OF_POWER, power_change, Operation::Reboot),
        OperationType::Shutdown => {
            let make = Operation::Shutdown;
            read(parameters, &[], &OF_POWER, power_change, make)
        }
        OperationType::ApplyDeploymentPlan => {
            return Err(vec![Violation::new(
                "/operation_type",
                "operation-plan-invalid",
                "a plan cannot hold a plan",
            )]);
        }
    };
    read.map_err(|found| under(found, "/parameters"))
}

fn read<T: DeserializeOwned>(
    parameters: &Value,
    required: &[&str],
    optional: &[&str],
    check: impl FnOnce(&T) -> Vec<Violation>,
    make: impl FnOnce(T) -> Operation,
) -> Result<Operation, Vec<Violation>> {
    let read: T = shape(parameters, required, optional)?;
    let found = check(&read);
    if found.is_empty() {
        Ok(make(read))
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
    rules::environment(&mut found, "/env", &script.env);
    if let Some(secret) = &script.stdin_secret {
        rules::secret(&mut found, "/stdin_secret", secret);
        if script.stdin.is_some() {
            let detail = "only one of stdin and stdin_secret may be given";
            found.push(Violation::new(
                "/stdin_secret",
                "operation-parameter-invalid",
                detail,
            ));
        }
    }
    found
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
        file.content_secret.is_some(),
    ];
    if sources.into_iter().filter(|set| *set).count() != 1 {
        found.push(Violation::new(
            "/content",
            "operation-content-invalid",
            "exactly one of content, content_base64, blob_sha256, content_secret is required",
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
    if let Some(secret) = &file.content_secret {
        rules::secret(&mut found, "/content_secret", secret);
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
