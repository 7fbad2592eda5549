//! The eight operation types with their parameters. Parsing and validation are in `validate`; both sides use them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::health_check::HealthCheck;
use crate::secret::{EnvironmentValue, SecretRef};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationType {
    RunScript,
    DeployFile,
    ServiceControl,
    InstallPackage,
    RemovePackage,
    Reboot,
    Shutdown,
    ApplyDeploymentPlan,
}

impl OperationType {
    pub const ALL: [Self; 8] = [
        Self::RunScript,
        Self::DeployFile,
        Self::ServiceControl,
        Self::InstallPackage,
        Self::RemovePackage,
        Self::Reboot,
        Self::Shutdown,
        Self::ApplyDeploymentPlan,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::RunScript => "run_script",
            Self::DeployFile => "deploy_file",
            Self::ServiceControl => "service_control",
            Self::InstallPackage => "install_package",
            Self::RemovePackage => "remove_package",
            Self::Reboot => "reboot",
            Self::Shutdown => "shutdown",
            Self::ApplyDeploymentPlan => "apply_deployment_plan",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A validated operation: made by [`crate::validate::operation`], never by deserialising.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(
    tag = "operation_type",
    content = "parameters",
    rename_all = "snake_case"
)]
pub enum Operation {
    RunScript(RunScript),
    DeployFile(DeployFile),
    ServiceControl(ServiceControl),
    InstallPackage(Packages),
    RemovePackage(Packages),
    Reboot(PowerChange),
    Shutdown(PowerChange),
    ApplyDeploymentPlan(DeploymentPlan),
}

impl Operation {
    pub fn operation_type(&self) -> OperationType {
        match self {
            Self::RunScript(_) => OperationType::RunScript,
            Self::DeployFile(_) => OperationType::DeployFile,
            Self::ServiceControl(_) => OperationType::ServiceControl,
            Self::InstallPackage(_) => OperationType::InstallPackage,
            Self::RemovePackage(_) => OperationType::RemovePackage,
            Self::Reboot(_) => OperationType::Reboot,
            Self::Shutdown(_) => OperationType::Shutdown,
            Self::ApplyDeploymentPlan(_) => OperationType::ApplyDeploymentPlan,
        }
    }
}

/// How to run any operation, beside its own parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecutionOptions {
    /// Say what would change and touch nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, EnvironmentValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunScript {
    pub script: String,
    #[serde(default = "default_interpreter")]
    pub interpreter: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, EnvironmentValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// In place of `stdin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin_secret: Option<SecretRef>,
}

/// Exactly one of `content`, `content_base64`, `blob_sha256`, `content_secret` is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployFile {
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob_sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_secret: Option<SecretRef>,
    /// Octal text such as `0644`; no setuid, setgid or sticky bit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Keep the replaced file beside the new one.
    #[serde(default)]
    pub backup: bool,
    #[serde(default)]
    pub create_parents: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceAction {
    Start,
    Stop,
    Restart,
    Reload,
    Enable,
    Disable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceEnsure {
    Running,
    Stopped,
}

/// At least one of `action` and `ensure` is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceControl {
    pub service: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ServiceAction>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ensure: Option<ServiceEnsure>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    /// `name` or `name=version`.
    pub packages: Vec<String>,
    #[serde(default)]
    pub refresh: bool,
    #[serde(default)]
    pub purge: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerChange {
    #[serde(default)]
    pub delay_seconds: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Steps, in order. It succeeds if no step failed, other than those whose failure `continue` allows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeploymentPlan {
    pub steps: Vec<PlanStep>,
}

impl DeploymentPlan {
    /// Whether the host is to be off afterwards. Only the last step may do that.
    pub fn ends_in_shutdown(&self) -> bool {
        let last = self.steps.last();
        last.is_some_and(|step| step.operation.operation_type() == OperationType::Shutdown)
    }
}

/// What follows when a step fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The plan has failed; later steps are not run.
    #[default]
    Stop,
    /// The failure is shown and does not matter: the next step follows.
    Continue,
    /// As `stop`, and the files that this plan has deployed are what they were before it.
    Rollback,
}

/// Run the step only if the named earlier step changed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepCondition {
    pub changed: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanStep {
    pub name: String,
    #[serde(flatten)]
    pub operation: Box<Operation>,
    #[serde(skip_serializing_if = "is_default_on_failure")]
    pub on_failure: OnFailure,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<StepCondition>,
}

fn default_interpreter() -> String {
    "/bin/sh".to_owned()
}

fn is_default_on_failure(value: &OnFailure) -> bool {
    *value == OnFailure::Stop
}
