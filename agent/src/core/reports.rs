//! Saying what became of commands, until the server has acknowledged it.

use fleetwright_protocol::frame::{JournalEntry, Section, Stream};
use fleetwright_protocol::outcome::FailureReason;
use fleetwright_protocol::{AgentFrame, CommandId, JournalId, Outcome, OutputSummary};
use uuid::Uuid;

use super::Core;
use super::uploads::{Next, Part};
use crate::journal::{ClosedAs, Durability, Entry, Execution, Record, State};
use crate::run::Run;

/// An end that is not acknowledged within this time is said again: the server may have been unable to store it.
const SAY_AGAIN_MS: u64 = 30_000;

impl Core {
    pub(super) fn journal_id(&self) -> JournalId {
        self.journal
            .as_ref()
            .map_or(JournalId(Uuid::nil()), |journal| journal.journal_id())
    }

    pub(super) fn open_entries(&self) -> Vec<JournalEntry> {
        self.journal
            .as_ref()
            .map(|journal| journal.entries().open())
            .unwrap_or_default()
    }

    pub(super) fn entry(&self, command_id: CommandId) -> Option<&Entry> {
        self.journal.as_ref()?.entries().get(command_id)
    }

    /// Says all that is known of a command: the answer to a duplicate, or to a reconnect.
    pub(super) fn say_again(&mut self, command_id: CommandId) {
        let Some(entry) = self.entry(command_id) else {
            return;
        };
        let attempt = entry.attempt;
        match entry.state.clone() {
            State::Received
            | State::Starting {
                execution: Execution::Supervised | Execution::Power(_) | Execution::Plan(_),
                ..
            } => {
                self.say(AgentFrame::CommandReceived {
                    command_id,
                    attempt,
                });
            }
            State::Starting {
                execution: Execution::InProcess,
                ..
            }
            | State::Started { .. } => {
                self.say(AgentFrame::CommandReceived {
                    command_id,
                    attempt,
                });
                self.say(AgentFrame::CommandStarted {
                    command_id,
                    attempt,
                });
            }
            State::Exited(outcome) => self.say_finished(
                Run {
                    command_id,
                    attempt,
                },
                &outcome,
            ),
            State::NotStarted(reason) | State::Closed(ClosedAs::NotStarted(reason)) => {
                self.said.insert(command_id, self.machine.boot_ms());
                self.say(AgentFrame::CommandNotStarted {
                    command_id,
                    attempt,
                    reason: reason.into(),
                });
            }
            State::Closed(ClosedAs::Finished) => {
                // The server has said that it knows; one that asks again has lost its memory, and so have we.
                let message = "it ran, and its result was acknowledged before";
                let outcome = Outcome::failed(FailureReason::OutcomeUnknown, message);
                self.say(AgentFrame::CommandFinished {
                    command_id,
                    attempt,
                    outcome: Box::new(outcome),
                });
            }
            State::CancelledUnseen => {}
        }
    }

    /// Answers an attempt that never runs, because an earlier one did, or may have. It is not journalled: if the answer is
    /// lost, the server asks again.
    pub(super) fn say_unknown(&self, run: Run) {
        let message = "an earlier attempt of it may have run";
        let outcome = Outcome::failed(FailureReason::OutcomeUnknown, message);
        self.say(AgentFrame::CommandFinished {
            command_id: run.command_id,
            attempt: run.attempt,
            outcome: Box::new(outcome),
        });
    }

    /// After the server's welcome: every end it has not acknowledged.
    pub(super) fn say_all_ends(&mut self) {
        for entry in self.open_entries() {
            if self.is_end(entry.command_id) {
                self.say_again(entry.command_id);
            }
        }
    }

    pub(super) async fn on_tick(&mut self) {
        self.machine.reap();
        for record in std::mem::take(&mut self.unwritten) {
            let command_id = record.command_id();
            if self.append_end(record, Durability::Synced).await {
                self.say_again(command_id);
            }
        }
        if self.connection.is_none() {
            return;
        }
        let now_ms = self.machine.boot_ms();
        let late: Vec<CommandId> = self
            .said
            .iter()
            .filter(|(_, said_at)| now_ms.saturating_sub(**said_at) >= SAY_AGAIN_MS)
            .map(|(command_id, _)| *command_id)
            .collect();
        for command_id in late {
            self.said.remove(&command_id);
            if self.is_end(command_id) {
                self.say_again(command_id);
            }
        }
    }

    pub(super) async fn on_ack(&mut self, command_id: CommandId, attempt: u32) {
        let meant = self
            .entry(command_id)
            .is_some_and(|entry| entry.attempt == attempt);
        if !meant || !self.is_end(command_id) {
            return;
        }
        self.said.remove(&command_id);
        self.uploads.forget(command_id);
        // If it is lost, the end is said and acknowledged once more.
        if let Err(error) = self
            .append(
                vec![Record::Acked {
                    command_id,
                    attempt,
                }],
                Durability::Written,
            )
            .await
        {
            tracing::warn!(%error, "cannot note an acknowledgement");
        }
        self.machine.forget(Run {
            command_id,
            attempt,
        });
    }

    pub(super) fn on_ack_part(
        &mut self,
        command_id: CommandId,
        attempt: u32,
        stream: Stream,
        section: Section,
        offset: u64,
    ) {
        match self
            .uploads
            .acked(command_id, attempt, stream, section, offset)
        {
            None => {}
            Some(Next::Part(part)) => self.send_part(part),
            Some(Next::Complete { command_id }) => {
                self.say_again(command_id);
                if let Some(part) = self.uploads.current() {
                    self.send_part(part);
                }
            }
        }
    }

    /// Says an end, after the parts of its output that are not inside it.
    fn say_finished(&mut self, run: Run, outcome: &Outcome) {
        let Run {
            command_id,
            attempt,
        } = run;
        self.said.insert(command_id, self.machine.boot_ms());
        if self.connection.is_none() {
            return;
        }
        if self.uploads.enqueue(command_id, attempt, outcome) {
            if let Some(part) = self
                .uploads
                .current()
                .filter(|part| part.command_id == command_id)
            {
                self.send_part(part);
            }
            return;
        }
        self.say(AgentFrame::CommandFinished {
            command_id,
            attempt,
            outcome: Box::new(outcome.clone()),
        });
    }

    fn send_part(&mut self, part: Part) {
        self.said.insert(part.command_id, self.machine.boot_ms());
        match self.machine.read_part(&part) {
            Ok(data) => self.say(AgentFrame::OutputPart {
                command_id: part.command_id,
                attempt: part.attempt,
                stream: part.stream.into(),
                section: part.section.into(),
                offset: part.offset,
                data,
            }),
            Err(error) => {
                tracing::warn!(command = %part.command_id, %error, "kept output is lost");
                self.send_without_output(part.command_id);
            }
        }
    }

    /// The result matters more than its output.
    fn send_without_output(&mut self, command_id: CommandId) {
        self.uploads.forget(command_id);
        let Some(entry) = self.entry(command_id) else {
            return;
        };
        let (attempt, State::Exited(outcome)) = (entry.attempt, entry.state.clone()) else {
            return;
        };
        let bare = |summary: &OutputSummary| OutputSummary {
            total_bytes: summary.total_bytes,
            sha256: summary.sha256.clone(),
            ..OutputSummary::default()
        };
        let outcome = Outcome {
            stdout: bare(&outcome.stdout),
            stderr: bare(&outcome.stderr),
            message: format!("{} (its output was lost on the host)", outcome.message)
                .trim()
                .to_owned(),
            ..(*outcome).clone()
        };
        self.say(AgentFrame::CommandFinished {
            command_id,
            attempt,
            outcome: Box::new(outcome),
        });
    }

    fn is_end(&self, command_id: CommandId) -> bool {
        self.entry(command_id)
            .is_some_and(|entry| match entry.state {
                State::Exited(_) | State::NotStarted(_) => true,
                State::Received
                | State::Starting { .. }
                | State::Started { .. }
                | State::Closed(_)
                | State::CancelledUnseen => false,
            })
    }
}
