//! The byte form of journal records. Each is the payload of one checked record; a first byte names its kind.

use fleetwright_protocol::{CommandId, NotStartedReason, Outcome};
use uuid::Uuid;

/// Where a started command runs, which decides what a restart can know about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Execution {
    /// Under a supervisor process, which outlives the agent and starts nothing until it is told to.
    Supervised,
    /// Inside the agent itself: an agent that dies cannot say how far it came.
    InProcess,
    /// Under a supervisor, and not over with it: the machine itself is to go.
    Power(PowerRun),
    /// A plan: under a supervisor, with a log of its own that tells how far it came, and gone on with after a restart
    /// of the machine.
    Plan(PlanRun),
}

/// What is to become of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerKind {
    Reboot,
    Shutdown,
}

/// A restart or shutdown that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerRun {
    pub kind: PowerKind,
    /// By the wall clock, which alone goes on while the machine is off.
    pub deadline_unix_ms: u64,
}

/// A plan that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanRun {
    /// A step of it does.
    pub changes_power: bool,
    /// By the wall clock, which alone goes on while the machine is off.
    pub deadline_unix_ms: u64,
}

impl Execution {
    /// Whether nothing else runs beside it.
    pub fn is_barrier(self) -> bool {
        match self {
            Self::Supervised | Self::InProcess => false,
            Self::Power(_) => true,
            Self::Plan(run) => run.changes_power,
        }
    }

    /// Of a command that is nothing but a change of the machine's power.
    pub fn power(self) -> Option<PowerRun> {
        match self {
            Self::Supervised | Self::InProcess | Self::Plan(_) => None,
            Self::Power(run) => Some(run),
        }
    }
}

/// How an acknowledged command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedAs {
    Finished,
    NotStarted(NotStartedReason),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    Received {
        command_id: CommandId,
        attempt: u32,
        expires_unix_ms: u64,
    },
    /// Written before anything is run. From here on a lost trail means an unknown outcome.
    Starting {
        command_id: CommandId,
        attempt: u32,
        boot_id: String,
        execution: Execution,
    },
    /// The supervisor exists; it is told to go only after this record is written.
    Started {
        command_id: CommandId,
        attempt: u32,
        pid: u32,
        start_ticks: u64,
    },
    /// A plan goes on in this boot under another supervisor, which is told to go only after this record is written.
    Resumed {
        command_id: CommandId,
        attempt: u32,
        boot_id: String,
        pid: u32,
        start_ticks: u64,
    },
    Exited {
        command_id: CommandId,
        attempt: u32,
        outcome: Box<Outcome>,
    },
    NotStarted {
        command_id: CommandId,
        attempt: u32,
        expires_unix_ms: u64,
        reason: NotStartedReason,
    },
    Acked {
        command_id: CommandId,
        attempt: u32,
    },
    /// Never start this command, whether or not it has come yet.
    Cancelled {
        command_id: CommandId,
        expires_unix_ms: u64,
    },
    /// All that compaction keeps of a closed command.
    Tombstone {
        command_id: CommandId,
        attempt: u32,
        expires_unix_ms: u64,
        closed: ClosedAs,
    },
}

impl Record {
    pub fn command_id(&self) -> CommandId {
        match self {
            Self::Received { command_id, .. }
            | Self::Starting { command_id, .. }
            | Self::Started { command_id, .. }
            | Self::Resumed { command_id, .. }
            | Self::Exited { command_id, .. }
            | Self::NotStarted { command_id, .. }
            | Self::Acked { command_id, .. }
            | Self::Cancelled { command_id, .. }
            | Self::Tombstone { command_id, .. } => *command_id,
        }
    }

    /// The first payload byte.
    fn kind(&self) -> u8 {
        match self {
            Self::Received { .. } => 1,
            Self::Starting { .. } => 2,
            Self::Started { .. } => 3,
            Self::Exited { .. } => 4,
            Self::NotStarted { .. } => 5,
            Self::Acked { .. } => 6,
            Self::Cancelled { .. } => 7,
            Self::Tombstone { .. } => 8,
            Self::Resumed { .. } => 9,
        }
    }

    /// 0 for a cancel, which is for every attempt.
    pub(super) fn attempt(&self) -> u32 {
        match self {
            Self::Received { attempt, .. }
            | Self::Starting { attempt, .. }
            | Self::Started { attempt, .. }
            | Self::Resumed { attempt, .. }
            | Self::Exited { attempt, .. }
            | Self::NotStarted { attempt, .. }
            | Self::Acked { attempt, .. }
            | Self::Tombstone { attempt, .. } => *attempt,
            Self::Cancelled { .. } => 0,
        }
    }

    /// The payload bytes: kind, command id, then the fields in order, little-endian; texts run to the end.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(48);
        head(&mut bytes, self.kind(), self.command_id(), self.attempt());
        match self {
            Self::Starting {
                boot_id, execution, ..
            } => {
                encode_execution(&mut bytes, *execution);
                bytes.extend_from_slice(boot_id.as_bytes());
            }
            Self::Started {
                pid, start_ticks, ..
            } => {
                bytes.extend_from_slice(&pid.to_le_bytes());
                bytes.extend_from_slice(&start_ticks.to_le_bytes());
            }
            Self::Resumed {
                boot_id,
                pid,
                start_ticks,
                ..
            } => {
                bytes.extend_from_slice(&pid.to_le_bytes());
                bytes.extend_from_slice(&start_ticks.to_le_bytes());
                bytes.extend_from_slice(boot_id.as_bytes());
            }
            // An outcome is plain data with text keys: writing it to memory cannot fail, and an empty text would be
            // refused when read back.
            Self::Exited { outcome, .. } => {
                bytes.extend(serde_json::to_vec(outcome).unwrap_or_default());
            }
            Self::NotStarted {
                expires_unix_ms,
                reason,
                ..
            } => {
                bytes.extend_from_slice(&expires_unix_ms.to_le_bytes());
                bytes.push(reason_byte(*reason));
            }
            Self::Acked { .. } => {}
            Self::Received {
                expires_unix_ms, ..
            }
            | Self::Cancelled {
                expires_unix_ms, ..
            } => bytes.extend_from_slice(&expires_unix_ms.to_le_bytes()),
            Self::Tombstone {
                expires_unix_ms,
                closed,
                ..
            } => {
                bytes.extend_from_slice(&expires_unix_ms.to_le_bytes());
                bytes.push(match closed {
                    ClosedAs::Finished => 0,
                    ClosedAs::NotStarted(reason) => reason_byte(*reason),
                });
            }
        }
        bytes
    }

    /// The record in these payload bytes; `None` if they are not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = Bytes(bytes);
        let kind = rest.byte()?;
        let command_id = CommandId(Uuid::from_bytes(rest.take()?));
        let attempt = u32::from_le_bytes(rest.take()?);
        let record = match kind {
            1 => Self::Received {
                command_id,
                attempt,
                expires_unix_ms: rest.u64()?,
            },
            2 => Self::Starting {
                command_id,
                attempt,
                execution: decode_execution(&mut rest)?,
                boot_id: std::str::from_utf8(rest.all()).ok()?.to_owned(),
            },
            3 => Self::Started {
                command_id,
                attempt,
                pid: u32::from_le_bytes(rest.take()?),
                start_ticks: rest.u64()?,
            },
            4 => Self::Exited {
                command_id,
                attempt,
                outcome: Box::new(serde_json::from_slice(rest.all()).ok()?),
            },
            5 => Self::NotStarted {
                command_id,
                attempt,
                expires_unix_ms: rest.u64()?,
                reason: reason_of(rest.byte()?)?,
            },
            6 => Self::Acked {
                command_id,
                attempt,
            },
            // A cancel is for every attempt, so it names none.
            7 if attempt == 0 => Self::Cancelled {
                command_id,
                expires_unix_ms: rest.u64()?,
            },
            8 => Self::Tombstone {
                command_id,
                attempt,
                expires_unix_ms: rest.u64()?,
                closed: match rest.byte()? {
                    0 => ClosedAs::Finished,
                    reason => ClosedAs::NotStarted(reason_of(reason)?),
                },
            },
            9 => Self::Resumed {
                command_id,
                attempt,
                pid: u32::from_le_bytes(rest.take()?),
                start_ticks: rest.u64()?,
                boot_id: std::str::from_utf8(rest.all()).ok()?.to_owned(),
            },
            _ => return None,
        };
        rest.0.is_empty().then_some(record)
    }
}

fn head(bytes: &mut Vec<u8>, kind: u8, command_id: CommandId, attempt: u32) {
    bytes.push(kind);
    bytes.extend_from_slice(command_id.as_bytes());
    bytes.extend_from_slice(&attempt.to_le_bytes());
}

fn encode_execution(bytes: &mut Vec<u8>, execution: Execution) {
    match execution {
        Execution::Supervised => bytes.push(1),
        Execution::InProcess => bytes.push(2),
        Execution::Power(run) => {
            bytes.push(match run.kind {
                PowerKind::Reboot => 3,
                PowerKind::Shutdown => 4,
            });
            bytes.extend_from_slice(&run.deadline_unix_ms.to_le_bytes());
        }
        Execution::Plan(run) => {
            bytes.push(if run.changes_power { 6 } else { 5 });
            bytes.extend_from_slice(&run.deadline_unix_ms.to_le_bytes());
        }
    }
}

fn decode_execution(rest: &mut Bytes<'_>) -> Option<Execution> {
    let kind = match rest.byte()? {
        1 => return Some(Execution::Supervised),
        2 => return Some(Execution::InProcess),
        3 => PowerKind::Reboot,
        4 => PowerKind::Shutdown,
        plan @ (5 | 6) => {
            return Some(Execution::Plan(PlanRun {
                changes_power: plan == 6,
                deadline_unix_ms: rest.u64()?,
            }));
        }
        _ => return None,
    };
    let deadline_unix_ms = rest.u64()?;
    Some(Execution::Power(PowerRun {
        kind,
        deadline_unix_ms,
    }))
}

fn reason_byte(reason: NotStartedReason) -> u8 {
    match reason {
        NotStartedReason::LeaseExpired => 1,
        NotStartedReason::AgentRestarted => 2,
        NotStartedReason::TtlExpired => 3,
        NotStartedReason::Cancelled => 4,
        NotStartedReason::Unsupported => 5,
        NotStartedReason::DiskFull => 6,
    }
}

fn reason_of(byte: u8) -> Option<NotStartedReason> {
    Some(match byte {
        1 => NotStartedReason::LeaseExpired,
        2 => NotStartedReason::AgentRestarted,
        3 => NotStartedReason::TtlExpired,
        4 => NotStartedReason::Cancelled,
        5 => NotStartedReason::Unsupported,
        6 => NotStartedReason::DiskFull,
        _ => return None,
    })
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn all(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use fleetwright_protocol::outcome::FailureReason;
    use proptest::prelude::*;

    pub(crate) fn id(number: u8) -> CommandId {
        CommandId(Uuid::from_u128(u128::from(number)))
    }

    pub(crate) fn any_record() -> impl Strategy<Value = Record> {
        let reasons = prop::sample::select(vec![
            NotStartedReason::LeaseExpired,
            NotStartedReason::AgentRestarted,
            NotStartedReason::TtlExpired,
            NotStartedReason::Cancelled,
            NotStartedReason::Unsupported,
            NotStartedReason::DiskFull,
        ]);
        // Few ids and attempts, so that records meet.
        (
            0..4u8,
            1..3u32,
            any::<u64>(),
            any::<u32>(),
            reasons,
            0..10u8,
            "[a-z]{0,12}",
        )
            .prop_map(|(number, attempt, big, small, reason, kind, text)| {
                let command_id = id(number);
                match kind {
                    0 => Record::Received {
                        command_id,
                        attempt,
                        expires_unix_ms: big,
                    },
                    1 | 2 => Record::Starting {
                        command_id,
                        attempt,
                        boot_id: text,
                        execution: match (kind, small % 4) {
                            (1, _) => Execution::Supervised,
                            (_, 0) => Execution::InProcess,
                            (_, 3) => Execution::Plan(PlanRun {
                                changes_power: number % 2 == 1,
                                deadline_unix_ms: big,
                            }),
                            (_, one_or_two) => Execution::Power(PowerRun {
                                kind: if one_or_two == 1 {
                                    PowerKind::Reboot
                                } else {
                                    PowerKind::Shutdown
                                },
                                deadline_unix_ms: big,
                            }),
                        },
                    },
                    3 => Record::Started {
                        command_id,
                        attempt,
                        pid: small,
                        start_ticks: big,
                    },
                    8 => Record::Resumed {
                        command_id,
                        attempt,
                        boot_id: text,
                        pid: small,
                        start_ticks: big,
                    },
                    4 => Record::Exited {
                        command_id,
                        attempt,
                        outcome: Box::new(Outcome::failed(FailureReason::ExitCode, text)),
                    },
                    5 => Record::NotStarted {
                        command_id,
                        attempt,
                        expires_unix_ms: big,
                        reason,
                    },
                    6 => Record::Acked {
                        command_id,
                        attempt,
                    },
                    7 => Record::Cancelled {
                        command_id,
                        expires_unix_ms: big,
                    },
                    _ => Record::Tombstone {
                        command_id,
                        attempt,
                        expires_unix_ms: big,
                        closed: if small % 2 == 0 {
                            ClosedAs::Finished
                        } else {
                            ClosedAs::NotStarted(reason)
                        },
                    },
                }
            })
    }

    proptest! {
        #[test]
        fn every_record_reads_back_as_itself(record in any_record()) {
            prop_assert_eq!(Record::decode(&record.encode()), Some(record));
        }

        #[test]
        fn any_bytes_are_a_record_or_nothing(
            kind in 0..10u8,
            bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let bytes = [&[kind], bytes.as_slice()].concat();
            if let Some(record) = Record::decode(&bytes) {
                let same = matches!(record, Record::Exited { .. }) || record.encode() == bytes;
                prop_assert!(same);
            }
        }
    }
}
