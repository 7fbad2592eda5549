//! Single commands as the API shows them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetwright_plugin_api::wire::{CommandOutput, CommandStatus, CommandView, StreamOutput};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::Timestamp;

/// One operation on one host.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CommandBody {
    pub id: Uuid,
    pub host_id: Uuid,
    /// The command set it belongs to: a bulk operation's id, or a set of its own.
    pub set_id: Uuid,
    /// `queued`, `running`, `succeeded`, `failed` or `skipped`.
    pub status: &'static str,
    #[schema(required)]
    pub reason: Option<String>,
    pub attempt: u32,
    pub cancel_requested: bool,
    #[schema(required)]
    pub exit_code: Option<i32>,
    #[schema(required)]
    pub changed: Option<bool>,
    /// A sentence from the agent, for a person.
    pub message: String,
    /// What the result says of its parts: each package, each step. In lists only if it is short (16 KiB).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub finished_at: Option<Timestamp>,
    /// The last 2 KiB of each stream; bytes that are not UTF-8 are replaced.
    pub stdout_tail: String,
    pub stderr_tail: String,
    /// A result that came after the command had ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_result: Option<Value>,
    /// `{operation_type, parameters, options}`; only on a single command. Of scripts, inputs, contents and variables a
    /// viewer sees `{"sha256", "bytes"}` or `{"bytes"}` instead of the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<Value>,
}

/// A command's stored output.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OutputBody {
    pub command_id: Uuid,
    pub stdout: StreamBody,
    pub stderr: StreamBody,
}

/// One stream. Of a long one the middle is not stored: `head` is followed by `tail`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StreamBody {
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

pub fn command(view: CommandView, operation: Option<Value>) -> CommandBody {
    CommandBody {
        id: view.id.0,
        host_id: view.host_id.0,
        set_id: view.set_id.0,
        status: status(view.status),
        reason: view.reason,
        attempt: view.attempt,
        cancel_requested: view.cancel_requested,
        exit_code: view.exit_code,
        changed: view.changed,
        message: view.message,
        details: view.details,
        created_at: Timestamp(view.created_at_us),
        started_at: view.started_at_us.map(Timestamp),
        finished_at: view.finished_at_us.map(Timestamp),
        stdout_tail: view.stdout_tail,
        stderr_tail: view.stderr_tail,
        late_result: view.late_result,
        operation,
    }
}

/// The output from `offset` bytes on, in each stream.
pub fn output(id: Uuid, stored: &CommandOutput, offset: u64) -> OutputBody {
    OutputBody {
        command_id: id,
        stdout: stream(&stored.stdout, offset),
        stderr: stream(&stored.stderr, offset),
    }
}

/// Held is a matter of the set's own pace; people call it queued.
fn status(status: CommandStatus) -> &'static str {
    match status {
        CommandStatus::Held | CommandStatus::Queued => CommandStatus::Queued.as_str(),
        CommandStatus::Running
        | CommandStatus::Succeeded
        | CommandStatus::Failed
        | CommandStatus::Skipped => status.as_str(),
    }
}

fn stream(stored: &StreamOutput, offset: u64) -> StreamBody {
    let tail_starts_at = stored.total_bytes.saturating_sub(stored.tail.len() as u64);
    StreamBody {
        total_bytes: stored.total_bytes,
        sha256: stored.sha256.clone(),
        truncated: stored.total_bytes > (stored.head.len() + stored.tail.len()) as u64,
        head: STANDARD.encode(rest(&stored.head, offset)),
        tail: STANDARD.encode(rest(&stored.tail, offset.saturating_sub(tail_starts_at))),
    }
}

fn rest(bytes: &[u8], offset: u64) -> &[u8] {
    let start = usize::try_from(offset)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    bytes.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_counts_from_the_beginning_of_the_whole_stream() {
        let stored = StreamOutput {
            total_bytes: 100,
            sha256: String::new(),
            head: b"0123456789".to_vec(),
            tail: b"abcdefghij".to_vec(),
        };
        let text = |encoded: &str| String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap();
        let at = |offset| {
            let body = stream(&stored, offset);
            (text(&body.head), text(&body.tail), body.truncated)
        };
        assert_eq!(at(0), ("0123456789".into(), "abcdefghij".into(), true));
        assert_eq!(at(7), ("789".into(), "abcdefghij".into(), true));
        assert_eq!(at(50), (String::new(), "abcdefghij".into(), true));
        assert_eq!(at(95), (String::new(), "fghij".into(), true));
    }
}
