//! What came of a command: started or not, how it ended, and what it printed.

use serde::{Deserialize, Serialize};

use crate::word::Word;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeStatus {
    Succeeded,
    Failed,
    /// A newer agent's word.
    #[serde(untagged)]
    Unknown(Word),
}

/// Why a started (or refused) command failed, as an agent can know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// The operation ran and said no (non-zero exit, or a signal).
    ExitCode,
    TimedOut,
    RefusedByPolicy,
    /// Killed because an operator cancelled it with `kill`.
    Cancelled,
    OutcomeUnknown,
    /// The agent could not carry it out (no such interpreter, disk full, permission denied …).
    AgentError,
    /// A newer agent's word.
    #[serde(untagged)]
    Unknown(Word),
}

/// Why a delivered command did not start, and provably never will under this attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotStartedReason {
    /// The start lease ran out while the agent was busy.
    LeaseExpired,
    /// The agent restarted between receipt and start.
    AgentRestarted,
    /// The time to live ran out.
    TtlExpired,
    Cancelled,
    /// The agent does not know this operation type.
    Unsupported,
    /// The agent's disk cannot take a journal record.
    DiskFull,
}

/// What is stored of one output stream. Up to `OUTPUT_INLINE_BYTES_MAX` bytes travel as `head` (and nothing
/// in `tail`); of longer output the first and last mebibyte travel before the result as
/// `output_part` frames, and `in_parts` is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutputSummary {
    pub total_bytes: u64,
    /// Lower-case hex SHA-256 of all `total_bytes`, also of those not kept. Empty if nothing was printed.
    pub sha256: String,
    #[serde(with = "base64_bytes", skip_serializing_if = "Vec::is_empty")]
    pub head: Vec<u8>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub in_parts: bool,
    /// With `in_parts`: how many bytes of the stream's head and tail were sent.
    #[serde(skip_serializing_if = "is_zero")]
    pub head_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub tail_bytes: u64,
}

/// The final result of one attempt of one command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub status: OutcomeStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<FailureReason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended the process, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Whether the host is different now.
    #[serde(default)]
    pub changed: bool,
    /// What there is to say of the parts (each package, each step of a plan), as a JSON object of at most
    /// [`DETAILS_BYTES_MAX`](crate::limits::DETAILS_BYTES_MAX) bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Value>,
    /// A sentence for a person; never output of the operation.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How long it ran, on the agent's monotonic clock.
    #[serde(default)]
    pub duration_ms: u64,
    #[serde(default)]
    pub stdout: OutputSummary,
    #[serde(default)]
    pub stderr: OutputSummary,
}

impl Outcome {
    pub fn succeeded(changed: bool) -> Self {
        Self {
            status: OutcomeStatus::Succeeded,
            reason: None,
            exit_code: None,
            signal: None,
            changed,
            details: None,
            message: String::new(),
            duration_ms: 0,
            stdout: OutputSummary::default(),
            stderr: OutputSummary::default(),
        }
    }

    pub fn failed(reason: FailureReason, message: impl Into<String>) -> Self {
        Self {
            status: OutcomeStatus::Failed,
            reason: Some(reason),
            message: message.into(),
            ..Self::succeeded(false)
        }
    }
}

/// Serde adapter: bytes as standard base64 text in JSON.
pub mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map_err(D::Error::custom)
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
