//! What passes between the agent and a supervisor: the run to do, one way; output and the exit record, the other.
//! Both are the same program, so the form may change with any release (a running supervisor keeps its own).

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use fleetwright_protocol::frame::Stream;
use fleetwright_protocol::{CommandId, SecretValue, SecretValues};
use serde::{Deserialize, Serialize};

/// Set for every process of a run, so that its remains can be found if the supervisor is lost.
pub const COMMAND_VARIABLE: &str = "FLEETWRIGHT_COMMAND_ID";

/// Above the largest operation (768 KiB) with room for JSON escapes.
const SPEC_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One run: an argv and what is around it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSpec {
    pub command_id: CommandId,
    pub program: String,
    pub arguments: Vec<String>,
    /// All of it; nothing is inherited.
    pub environment: BTreeMap<String, String>,
    pub working_directory: String,
    /// Whether the folder of the run holds a file `stdin`.
    pub has_stdin: bool,
    /// What it reads instead. It is never in a file.
    #[serde(default)]
    pub stdin_secret: Option<SecretValue>,
    /// What is hidden in all that it prints and says.
    #[serde(default)]
    pub secrets: SecretValues,
    pub account: Option<AccountIds>,
    /// Whether the run says in a file of its folder what came of it; see `operations::result`.
    pub leaves_result: bool,
    /// Whether what it prints is also passed on to the supervisor's own output, all of it.
    pub passes_on: bool,
    /// Whether it is the runner of a plan, which leaves something to do when it is cut off.
    pub is_plan: bool,
    pub timeout_ms: u64,
    /// A fresh cgroup (v2) for the run.
    pub cgroup: Option<PathBuf>,
}

/// The numbers a process runs under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountIds {
    pub user: u32,
    pub group: u32,
    pub groups: Vec<u32>,
}

/// A message from the supervisor to the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SupervisorMessage {
    /// The first: the supervisor is there and waits for its run.
    Ready { pid: u32 },
    Output {
        stream: Stream,
        offset: u64,
        data: Vec<u8>,
    },
    /// The last, already on disk if the disk took it: an encoded exit record.
    Ended(Vec<u8>),
}

impl RunSpec {
    /// Sends the run: the word to go.
    pub fn send(&self, channel: &mut impl Write) -> io::Result<()> {
        channel.write_all(&self.encode()?)
    }

    /// The bytes that `receive` reads.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        let mut bytes = Vec::with_capacity(json.len() + 4);
        bytes.extend_from_slice(&length(&json)?);
        bytes.extend_from_slice(&json);
        Ok(bytes)
    }

    /// Waits for the run. An error means that the agent is gone, and nothing may be started.
    pub fn receive(channel: &mut impl Read) -> io::Result<Self> {
        let mut length = [0; 4];
        channel.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > SPEC_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut json = vec![0; length];
        channel.read_exact(&mut json)?;
        Ok(serde_json::from_slice(&json)?)
    }
}

impl SupervisorMessage {
    /// Kind, length, content.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let (kind, content) = match self {
            Self::Ready { pid } => (0, pid.to_le_bytes().to_vec()),
            Self::Output {
                stream,
                offset,
                data,
            } => {
                let mut content = Vec::with_capacity(data.len() + 8);
                content.extend_from_slice(&offset.to_le_bytes());
                content.extend_from_slice(data);
                let kind = match stream {
                    Stream::Stdout => 1,
                    Stream::Stderr => 2,
                };
                (kind, content)
            }
            Self::Ended(record) => (3, record.clone()),
        };
        let mut bytes = Vec::with_capacity(content.len() + 5);
        bytes.push(kind);
        bytes.extend_from_slice(&length(&content)?);
        bytes.extend_from_slice(&content);
        Ok(bytes)
    }

    /// The size of the content that follows these five bytes, if it can be one.
    pub fn content_bytes(head: &[u8; 5]) -> Option<usize> {
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        (head[0] <= 3 && length <= crate::checked::PAYLOAD_BYTES_MAX).then_some(length)
    }

    /// The message of this kind with this content.
    pub fn decode(kind: u8, content: Vec<u8>) -> Option<Self> {
        let output = |stream| {
            let (offset, data) = content.split_first_chunk::<8>()?;
            Some(Self::Output {
                stream,
                offset: u64::from_le_bytes(*offset),
                data: data.to_vec(),
            })
        };
        match kind {
            0 => Some(Self::Ready {
                pid: u32::from_le_bytes(content.try_into().ok()?),
            }),
            1 => output(Stream::Stdout),
            2 => output(Stream::Stderr),
            3 => Some(Self::Ended(content)),
            _ => None,
        }
    }
}

fn length(content: &[u8]) -> io::Result<[u8; 4]> {
    match u32::try_from(content.len()) {
        Ok(length) => Ok(length.to_le_bytes()),
        Err(_) => Err(io::ErrorKind::InvalidInput.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_read_back_as_themselves() {
        let reports = [
            SupervisorMessage::Ready { pid: 77 },
            SupervisorMessage::Output {
                stream: Stream::Stderr,
                offset: 1 << 40,
                data: vec![0, 255, 10],
            },
            SupervisorMessage::Ended(b"record".to_vec()),
        ];
        for report in reports {
            let bytes = report.encode().unwrap();
            let head = bytes.first_chunk::<5>().unwrap();
            let length = SupervisorMessage::content_bytes(head).unwrap();
            assert_eq!(bytes.len(), 5 + length);
            assert_eq!(
                SupervisorMessage::decode(head[0], bytes[5..].to_vec()),
                Some(report)
            );
        }
    }

    #[test]
    fn half_a_run_is_no_run() {
        let spec = RunSpec {
            command_id: CommandId(uuid::Uuid::nil()),
            program: "/bin/sh".into(),
            arguments: vec!["script".into()],
            environment: BTreeMap::new(),
            working_directory: "/".into(),
            has_stdin: false,
            stdin_secret: None,
            secrets: SecretValues::new(),
            account: None,
            leaves_result: false,
            passes_on: false,
            is_plan: false,
            timeout_ms: 1,
            cgroup: None,
        };
        let bytes = spec.encode().unwrap();
        assert_eq!(RunSpec::receive(&mut bytes.as_slice()).unwrap(), spec);
        for cut in 0..bytes.len() {
            assert!(RunSpec::receive(&mut &bytes[..cut]).is_err());
        }
    }
}
