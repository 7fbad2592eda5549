//! The wire frames: JSON text with a `type` tag. The other side may be newer: fields that are not known here are ignored,
//! and so are types and words; what is known must be whole.
//! `command` frames are built by hand where one operation goes to many hosts; see [`command_frame`].

mod reading;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use reading::read_agent_frame;

use crate::facts::{Facts, Heartbeat};
use crate::ids::{CommandId, HostId, JournalId};
use crate::operation::OperationType;
use crate::outcome::{FailureReason, NotStartedReason, Outcome, OutcomeStatus, base64_bytes};
use crate::secret::SecretValues;
use crate::session::Session;
use crate::word::{Open, Word};

/// `major.minor`; peers talk when the major is equal.
pub const PROTOCOL_VERSION: &str = "1.1";

/// The WebSocket sub-protocol offered and chosen at the handshake.
pub const WEBSOCKET_SUBPROTOCOL: &str = "fleetwright.v1";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Which kept end of a long stream a part belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    Head,
    Tail,
}

/// A journal entry that is not closed, as summed up in `hello`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    pub command_id: CommandId,
    pub attempt: u32,
    pub state: Open<JournalState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalState {
    /// On disk, waiting for its turn.
    Received,
    /// Running, or re-adopted after an agent restart.
    Started,
    /// Ended; the result follows (again).
    Exited,
    /// Provably not started; said again until acknowledged.
    NotStarted,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    pub operations: Vec<Open<OperationType>>,
    /// How many commands the agent runs side by side.
    pub concurrency: u32,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            operations: Vec::new(),
            concurrency: 1,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: String,
    pub journal_id: JournalId,
    #[serde(default)]
    pub boot_id: String,
    /// The machine's own name for itself; empty where it has none. A copy of a machine usually has the same.
    #[serde(default)]
    pub machine_id: String,
    /// `None` from an agent that does not count its sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    #[serde(default)]
    pub facts: Facts,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    #[serde(default)]
    pub capabilities: Capabilities,
    /// Open entries only; at most what the agent may hold at once.
    #[serde(default)]
    pub journal: Vec<JournalEntry>,
}

/// Agent → server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AgentFrame {
    /// Always the first frame.
    Hello(Box<Hello>),
    Heartbeat(Heartbeat),
    Facts {
        facts: Facts,
    },
    /// The command is in the journal on disk.
    CommandReceived {
        command_id: CommandId,
        attempt: u32,
    },
    CommandNotStarted {
        command_id: CommandId,
        attempt: u32,
        reason: Open<NotStartedReason>,
    },
    CommandStarted {
        command_id: CommandId,
        attempt: u32,
    },
    /// Live output, best effort; `offset` is the position in the stream.
    CommandOutput {
        command_id: CommandId,
        stream: Open<Stream>,
        offset: u64,
        #[serde(with = "base64_bytes")]
        data: Vec<u8>,
    },
    /// A part of a long output, before its `command_finished`. `offset` is within the section. Answered by
    /// `ack_part`; resent from the acknowledged offset after a reconnect.
    OutputPart {
        command_id: CommandId,
        attempt: u32,
        stream: Open<Stream>,
        section: Open<Section>,
        offset: u64,
        #[serde(with = "base64_bytes")]
        data: Vec<u8>,
    },
    CommandFinished {
        command_id: CommandId,
        attempt: u32,
        outcome: Box<Outcome>,
    },
    /// Of a type that only a newer agent knows.
    #[serde(other)]
    Unknown,
}

impl AgentFrame {
    /// The first word in it that is not known here.
    pub fn unknown_word(&self) -> Option<Word> {
        match self {
            Self::Hello(hello) => {
                let mut operations = hello.capabilities.operations.iter();
                let mut states = hello.journal.iter().map(|entry| entry.state);
                operations
                    .find_map(Open::unknown)
                    .or_else(|| states.find_map(|state| state.unknown()))
            }
            Self::CommandNotStarted { reason, .. } => reason.unknown(),
            Self::CommandOutput { stream, .. } => stream.unknown(),
            Self::OutputPart {
                stream, section, ..
            } => stream.unknown().or_else(|| section.unknown()),
            Self::CommandFinished { outcome, .. } => match (outcome.status, outcome.reason) {
                (OutcomeStatus::Unknown(word), _) | (_, Some(FailureReason::Unknown(word))) => {
                    Some(word)
                }
                (OutcomeStatus::Succeeded | OutcomeStatus::Failed, _) => None,
            },
            Self::Heartbeat(_)
            | Self::Facts { .. }
            | Self::CommandReceived { .. }
            | Self::CommandStarted { .. }
            | Self::Unknown => None,
        }
    }
}

/// Server → agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame {
    /// The answer to `hello`.
    Welcome {
        protocol: String,
        server_version: String,
        host_id: HostId,
        heartbeat_seconds: u64,
    },
    Command(CommandFrame),
    /// Do not start it; with `kill`, also end it if it runs.
    Cancel {
        command_id: CommandId,
        #[serde(default)]
        kill: bool,
    },
    /// The server has stored what the agent said of this command last (`command_finished`, `command_not_started`).
    Ack {
        command_id: CommandId,
        attempt: u32,
    },
    /// The server holds this section up to `offset`.
    AckPart {
        command_id: CommandId,
        attempt: u32,
        stream: Open<Stream>,
        section: Open<Section>,
        offset: u64,
    },
    Settings {
        heartbeat_seconds: u64,
    },
    /// Of a type that only a newer server knows.
    #[serde(other)]
    Unknown,
}

/// The type of a frame, for a log: that of an unknown one is not kept.
pub fn type_of(frame: &str) -> Option<Word> {
    #[derive(Deserialize)]
    struct Tag {
        r#type: Word,
    }
    serde_json::from_str(frame).ok().map(|tag: Tag| tag.r#type)
}

/// A command as the agent receives it. The operation stays unparsed JSON here, because the agent must be able
/// to answer `unsupported` for a type it does not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandFrame {
    pub command_id: CommandId,
    pub attempt: u32,
    /// `{"operation_type": …, "parameters": …, "options": …}`.
    pub operation: Value,
    /// All of the run: what the operation may take, and what its health check adds; see
    /// [`run_seconds`](crate::time_limit::run_seconds).
    pub timeout_seconds: u64,
    /// Counted from receipt on the agent's boot-time clock.
    pub start_within_ms: u64,
    pub ttl_ms: u64,
    /// The values of the secrets that the operation names. Beside it, so that whatever keeps the operation keeps none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: SecretValues,
}

/// Encodes a `command` frame around an operation that is already JSON, without copying it through a tree:
/// one bulk operation sends the same bytes to every host.
pub fn command_frame(
    command_id: CommandId,
    attempt: u32,
    operation_json: &str,
    timeout_seconds: u64,
    start_within_ms: u64,
    ttl_ms: u64,
) -> String {
    format!(
        concat!(
            r#"{{"type":"command","command_id":"{}","attempt":{},"operation":{},"#,
            r#""timeout_seconds":{},"start_within_ms":{},"ttl_ms":{}}}"#
        ),
        command_id, attempt, operation_json, timeout_seconds, start_within_ms, ttl_ms
    )
}

/// Adds secrets (a map as [`CommandFrame::secrets`], encoded) to an encoded `command` frame.
pub fn with_secrets(mut frame: String, secrets_json: &str) -> String {
    // It is an object with members.
    frame.truncate(frame.len().saturating_sub(1));
    frame.push_str(r#","secrets":"#);
    frame.push_str(secrets_json);
    frame.push('}');
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretValue;
    use uuid::Uuid;

    #[test]
    fn a_hand_built_command_frame_parses_as_one() {
        let id = CommandId(Uuid::from_u128(7));
        let text = command_frame(
            id,
            2,
            r#"{"operation_type":"reboot","parameters":{}}"#,
            60,
            1_000,
            2_000,
        );
        let ServerFrame::Command(frame) = serde_json::from_str(&text).unwrap() else {
            panic!("not a command: {text}");
        };
        assert_eq!(
            (frame.command_id, frame.attempt, frame.timeout_seconds),
            (id, 2, 60)
        );
        assert_eq!((frame.start_within_ms, frame.ttl_ms), (1_000, 2_000));
        assert_eq!(frame.operation["operation_type"], "reboot");
        assert!(frame.secrets.is_empty());
        let value = SecretValue::new(vec![0, 255, b'"']);
        let secrets = SecretValues::from([("a/b".to_owned(), value)]);
        let json = serde_json::to_string(&secrets).unwrap();
        let ServerFrame::Command(frame) = serde_json::from_str(&with_secrets(text, &json)).unwrap()
        else {
            panic!("not a command");
        };
        assert_eq!((frame.secrets, frame.ttl_ms), (secrets, 2_000));
    }

    #[test]
    fn unknown_fields_and_types_are_ignored_and_a_known_type_must_be_whole() {
        let frame: AgentFrame = serde_json::from_str(
            r#"{"type":"command_started","command_id":"00000000-0000-0000-0000-000000000007","attempt":1,"mood":"fine"}"#,
        )
        .unwrap();
        assert!(matches!(
            frame,
            AgentFrame::CommandStarted { attempt: 1, .. }
        ));
        let gossip = r#"{"type":"gossip","about":[1,{"attempt":"x"}]}"#;
        assert_eq!(
            serde_json::from_str::<AgentFrame>(gossip).unwrap(),
            AgentFrame::Unknown
        );
        assert_eq!(
            serde_json::from_str::<ServerFrame>(gossip).unwrap(),
            ServerFrame::Unknown
        );
        assert_eq!(type_of(gossip), Some(Word::of("gossip")));
        for torn in [r#"{"type":"command_started"}"#, r#"{"type":1}"#, "{}", "[]"] {
            assert!(serde_json::from_str::<AgentFrame>(torn).is_err(), "{torn}");
        }
        assert!(serde_json::from_str::<ServerFrame>(r#"{"type":"ack"}"#).is_err());
    }
}
