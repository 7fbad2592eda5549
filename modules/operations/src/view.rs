//! What the API shows of the hosts of an operation, alike for every kind of operation: their rows, their output, and what
//! would be sent to them. Pure. Times are RFC 3339 in UTC with milliseconds.

use fleetwright_plugin_api::sdk::Timestamp;
use fleetwright_plugin_api::wire::{
    CommandOutput, CommandStatus, CommandView, SetPreview, StreamOutput,
};
use fleetwright_protocol::{CommandId, HostId, Operation};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::kind::{Header, Kind};

const MICROS_PER_SECOND: i64 = 1_000_000;

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Author {
    pub id: String,
    pub name: String,
}

impl Author {
    /// Who created an operation.
    pub fn of<K: Kind>(header: &Header<K>) -> Self {
        Self {
            id: header.created_by.clone(),
            name: header.created_by_name.clone(),
        }
    }
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PlannedSkip {
    #[schema(value_type = Uuid)]
    pub host_id: HostId,
    pub reason: String,
}

/// One host of an operation.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HostResult {
    #[schema(value_type = Uuid)]
    pub host_id: HostId,
    #[schema(value_type = Uuid)]
    pub command_id: CommandId,
    pub status: HostStatus,
    /// Why it failed or was skipped.
    pub reason: Option<String>,
    pub attempt: u32,
    /// A cancel was asked for and is not resolved yet.
    pub cancel_requested: bool,
    pub exit_code: Option<i32>,
    pub changed: Option<bool>,
    pub message: String,
    /// What the result says of its parts: each package, each step. In lists only if it is short (16 KiB).
    #[schema(value_type = Option<Object>)]
    pub details: Option<Value>,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub started_at: Option<String>,
    #[schema(format = DateTime)]
    pub finished_at: Option<String>,
    /// The last bytes of each stream, at most 2 KiB.
    pub stdout_tail: String,
    pub stderr_tail: String,
    /// A result that came after the row was terminal.
    #[schema(value_type = Option<Object>)]
    pub late_result: Option<Value>,
}

/// The status of one host. `succeeded`, `failed` and `skipped` never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostStatus {
    Queued,
    Running,
    Succeeded,
    Failed,
    Skipped,
}

/// The stored output of one host.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HostOutput {
    #[schema(value_type = Uuid)]
    pub host_id: HostId,
    #[schema(value_type = Uuid)]
    pub command_id: CommandId,
    pub stdout: Stream,
    pub stderr: Stream,
}

/// One stream. Of a long one the middle is not stored: `head` is followed by `tail`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Stream {
    pub total_bytes: u64,
    /// Of all bytes, also of those not stored.
    pub sha256: String,
    /// Whether bytes between `head` and `tail` are missing.
    pub truncated: bool,
    /// Base64: output need not be text.
    pub head: String,
    /// Base64.
    pub tail: String,
}

impl HostStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// What people call a command's status.
pub fn host_status(status: CommandStatus) -> HostStatus {
    match status {
        CommandStatus::Held | CommandStatus::Queued => HostStatus::Queued,
        CommandStatus::Running => HostStatus::Running,
        CommandStatus::Succeeded => HostStatus::Succeeded,
        CommandStatus::Failed => HostStatus::Failed,
        CommandStatus::Skipped => HostStatus::Skipped,
    }
}

/// The commands a `?status=` filter means. A set that is released step by step has held ones too: they are shown as queued, and
/// the core finds them as such.
pub fn command_status(name: &str) -> Option<CommandStatus> {
    let status = CommandStatus::from_name(name)?;
    match status {
        CommandStatus::Held => None,
        CommandStatus::Queued
        | CommandStatus::Running
        | CommandStatus::Succeeded
        | CommandStatus::Failed
        | CommandStatus::Skipped => Some(status),
    }
}

pub fn host(command: CommandView) -> HostResult {
    HostResult {
        host_id: command.host_id,
        command_id: command.id,
        status: host_status(command.status),
        reason: command.reason,
        attempt: command.attempt,
        cancel_requested: command.cancel_requested && !command.status.is_terminal(),
        exit_code: command.exit_code,
        changed: command.changed,
        message: command.message,
        details: command.details,
        created_at: time(command.created_at_us),
        started_at: command.started_at_us.map(time),
        finished_at: command.finished_at_us.map(time),
        stdout_tail: command.stdout_tail,
        stderr_tail: command.stderr_tail,
        late_result: command.late_result,
    }
}

pub fn output(command: &CommandView, stored: &CommandOutput) -> HostOutput {
    HostOutput {
        host_id: command.host_id,
        command_id: command.id,
        stdout: stream(&stored.stdout),
        stderr: stream(&stored.stderr),
    }
}

/// The SHA-256 of a value's JSON text, for audit rows: scripts and file contents may hold secrets.
pub fn digest_text(value: &Value) -> String {
    let digest = Sha256::digest(value.to_string().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The plan each host would be sent. An operation that is a plan is its own; any other is a plan of one step.
pub fn plan(operation: &Operation) -> Value {
    let named = serde_json::to_value(operation).unwrap_or_default();
    let parameters = named.get("parameters").cloned().unwrap_or_default();
    match operation {
        Operation::ApplyDeploymentPlan(_) => parameters,
        Operation::RunScript(_)
        | Operation::DeployFile(_)
        | Operation::ServiceControl(_)
        | Operation::InstallPackage(_)
        | Operation::RemovePackage(_)
        | Operation::Reboot(_)
        | Operation::Shutdown(_) => {
            let kind = operation.operation_type().as_str();
            json!({"steps": [{"name": kind, "operation_type": kind, "parameters": parameters}]})
        }
    }
}

/// The hosts that would run it and those that would not, from all that were selected.
pub fn planned(selected: &[HostId], preview: SetPreview) -> (Vec<HostId>, Vec<PlannedSkip>) {
    let skipped: std::collections::HashSet<HostId> =
        preview.skips.iter().map(|(host_id, _)| *host_id).collect();
    let hosts = selected
        .iter()
        .filter(|host_id| !skipped.contains(host_id))
        .copied()
        .collect();
    let skips = preview
        .skips
        .into_iter()
        .map(|(host_id, reason)| PlannedSkip { host_id, reason })
        .collect();
    (hosts, skips)
}

/// RFC 3339 in UTC; what is below a millisecond is cut off.
pub fn time(time_us: i64) -> String {
    Timestamp(time_us).to_string()
}

/// So many seconds after a time.
pub fn time_after(time_us: i64, seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    time(time_us.saturating_add(seconds.saturating_mul(MICROS_PER_SECOND)))
}

fn stream(stored: &StreamOutput) -> Stream {
    let kept = stored.head.len() + stored.tail.len();
    Stream {
        total_bytes: stored.total_bytes,
        sha256: stored.sha256.clone(),
        truncated: u64::try_from(kept).is_ok_and(|kept| kept < stored.total_bytes),
        head: base64_text(&stored.head),
        tail: base64_text(&stored.tail),
    }
}

fn base64_text(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use fleetwright_protocol::validate;

    use super::*;

    #[test]
    fn times_have_milliseconds() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_772_323_200_123_999, "2026-03-01T00:00:00.123Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ];
        for (time_us, expected) in cases {
            assert_eq!(time(time_us), expected);
        }
    }

    #[test]
    fn every_plan_can_be_sent_as_a_deployment_plan() {
        let script = json!({"script": "true"});
        let steps =
            json!({"steps": [{"name": "a", "operation_type": "run_script", "parameters": script}]});
        for (kind, parameters) in [
            ("run_script", script.clone()),
            ("reboot", json!({})),
            ("apply_deployment_plan", steps.clone()),
        ] {
            let operation = validate::operation(kind, &parameters).unwrap();
            let made = plan(&operation);
            validate::operation("apply_deployment_plan", &made)
                .unwrap_or_else(|found| panic!("{kind}: {found:?}"));
        }
    }

    #[test]
    fn a_held_host_is_shown_and_filtered_as_queued() {
        assert_eq!(host_status(CommandStatus::Held), HostStatus::Queued);
        assert_eq!(command_status("queued"), Some(CommandStatus::Queued));
        assert_eq!(command_status("held"), None);
        for status in CommandStatus::ALL {
            let shown = host_status(status);
            assert_eq!(serde_json::to_value(shown).unwrap(), shown.as_str());
        }
    }

    #[test]
    fn a_stream_says_whether_its_middle_is_missing() {
        let stored = StreamOutput {
            total_bytes: 6,
            sha256: String::new(),
            head: vec![0xff, b'a', b'b'],
            tail: b"c".to_vec(),
        };
        let shown = stream(&stored);
        assert!(shown.truncated);
        assert_eq!(shown.head, "/2Fi");
    }
}
