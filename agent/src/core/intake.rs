//! What the server says: commands, cancels, acknowledgements. Commands that come together are journalled together.

use fleetwright_protocol::frame::CommandFrame;
use fleetwright_protocol::limits::EXPIRES_IN_SECONDS_MAX;
use fleetwright_protocol::outcome::FailureReason;
use fleetwright_protocol::{AgentFrame, CommandId, NotStartedReason, Open, Outcome, ServerFrame};

use super::machine::Inability;
use super::{Core, Input, Waiting};
use crate::decide::{self, Lease, OnCancel, OnCommand};
use crate::job::{self, BadJob};
use crate::journal::{Durability, Record};
use crate::run::Run;

/// Commands that may wait here. Each holds its operation (at most 768 KiB) in memory; the server resends what is
/// refused, under a later attempt.
const WAITING_MAX: usize = 64;
/// Of all their operations, as JSON, and their secrets: one is far below a kilobyte, unless somebody means to fill this host's
/// memory.
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// No command lives longer, or waits longer for its turn, whatever its frame says.
const TTL_MS_MAX: u64 = EXPIRES_IN_SECONDS_MAX * 1_000;
const START_WITHIN_MS_MAX: u64 = 3_600_000;
/// How long a command may still come that was cancelled before it came: one that was sent is started within a minute of its
/// receipt or never, and no connection that has fallen silent lasts longer. Tombstones forgive a day of clock error on top.
const OVERTAKEN_MS: u64 = 3_600_000;
/// Refusals that the disk took no record of, remembered in each connection. A frame beyond them is as good as lost.
const REFUSED_MAX: usize = 4_096;

/// A command that is new, and what is to become of it once that is on disk.
struct Fresh {
    run: Run,
    expires_unix_ms: u64,
    fate: Fate,
}

enum Fate {
    Start(Waiting),
    Queue(Waiting),
    /// It ends here, without ever starting.
    End(Box<Outcome>),
    Refuse(NotStartedReason),
}

impl Core {
    pub(super) async fn take_inputs(&mut self, inputs: Vec<Input>) {
        let mut fresh: Vec<Fresh> = Vec::new();
        for input in inputs {
            if let Input::Frame(frame) = &input
                && let ServerFrame::Command(command) = frame.as_ref()
                && fresh
                    .iter()
                    .all(|known| known.run.command_id != command.command_id)
            {
                fresh.extend(self.consider(command, &fresh));
                continue;
            }
            self.take_on(std::mem::take(&mut fresh)).await;
            self.take_input(input).await;
        }
        self.take_on(fresh).await;
    }

    async fn take_input(&mut self, input: Input) {
        match input {
            Input::Connected {
                control,
                output,
                facts,
                session,
            } => self.connected(control, output, *facts, session),
            Input::Disconnected => self.disconnected(),
            Input::Disowned => self.disowned().await,
            Input::Frame(frame) => match *frame {
                ServerFrame::Welcome { .. } => {
                    self.is_disowned = false;
                    self.say_all_ends();
                }
                ServerFrame::Command(command) => {
                    let fresh = self.consider(&command, &[]);
                    self.take_on(fresh.into_iter().collect()).await;
                }
                ServerFrame::Cancel { command_id, kill } => self.on_cancel(command_id, kill).await,
                ServerFrame::Ack {
                    command_id,
                    attempt,
                } => self.on_ack(command_id, attempt).await,
                ServerFrame::AckPart {
                    command_id,
                    attempt,
                    stream,
                    section,
                    offset,
                } => {
                    // Of parts that are not sent from here, nothing is acknowledged.
                    if let (Open::Known(stream), Open::Known(section)) = (stream, section) {
                        self.on_ack_part(command_id, attempt, stream, section, offset);
                    }
                }
                // The connection keeps its own time, and notes what it does not know.
                ServerFrame::Settings { .. } | ServerFrame::Unknown => {}
            },
        }
    }

    /// Answers a command that is known; returns one that is new.
    fn consider(&mut self, command: &CommandFrame, before: &[Fresh]) -> Option<Fresh> {
        let run = Run {
            command_id: command.command_id,
            attempt: command.attempt,
        };
        let ttl_ms = command.ttl_ms.min(TTL_MS_MAX);
        let expires_unix_ms = self.machine.unix_ms().saturating_add(ttl_ms);
        let refuse = |reason| {
            Some(Fresh {
                run,
                expires_unix_ms,
                fate: Fate::Refuse(reason),
            })
        };
        if self
            .refused
            .get(&run.command_id)
            .is_some_and(|refused| run.attempt <= *refused)
        {
            self.say_no_room(run);
            return None;
        }
        match decide::on_command(self.entry(run.command_id), run.attempt) {
            OnCommand::Ignore => None,
            OnCommand::SayAgain => {
                self.say_again(run.command_id);
                None
            }
            OnCommand::Unknown => {
                // What became of the earlier attempt is said as well, and kept beside the answer.
                self.say_again(run.command_id);
                self.say_unknown(run);
                None
            }
            // Not answered, as if it had been lost on the way: a server that stores nothing of what it is told is sent no
            // more either.
            OnCommand::RefuseCancelled | OnCommand::Accept if self.holds_too_much() => {
                tracing::warn!(command = %run.command_id, "too much is unacknowledged; a command is not taken");
                None
            }
            OnCommand::RefuseCancelled => refuse(NotStartedReason::Cancelled),
            OnCommand::Accept => {
                let fate = self.fate(command, run, before);
                Some(Fresh {
                    run,
                    expires_unix_ms,
                    fate,
                })
            }
        }
    }

    fn holds_too_much(&self) -> bool {
        let full = self
            .journal
            .as_ref()
            .is_some_and(|journal| journal.entries().is_full());
        full || self.refused.len() >= REFUSED_MAX
    }

    fn fate(&self, command: &CommandFrame, run: Run, before: &[Fresh]) -> Fate {
        let lease = Lease {
            received_boot_ms: self.machine.boot_ms(),
            start_within_ms: command.start_within_ms.min(START_WITHIN_MS_MAX),
            ttl_ms: command.ttl_ms.min(TTL_MS_MAX),
        };
        let parsed = job::parse(&command.operation, command.timeout_seconds);
        let job = match parsed.and_then(|job| job.with_secrets(&command.secrets)) {
            Ok(job) => job,
            Err(BadJob::Unsupported(_)) => return Fate::Refuse(NotStartedReason::Unsupported),
            Err(error @ BadJob::Invalid(_)) => {
                return Fate::End(Box::new(Outcome::failed(
                    FailureReason::AgentError,
                    error.to_string(),
                )));
            }
        };
        match self.machine.refusal(&job) {
            None => {}
            Some(Inability::NotStarted(reason)) => return Fate::Refuse(reason),
            Some(Inability::Ended(outcome)) => return Fate::End(outcome),
        }
        if let Err(reason) = lease.check(self.machine.boot_ms()) {
            return Fate::Refuse(reason);
        }
        if self.machine.lacks_room() {
            let command = run.command_id;
            tracing::warn!(%command, "there is too little room on the disk; it is not started");
            return Fate::Refuse(NotStartedReason::DiskFull);
        }
        let (mut busy, mut waiting) = (self.busy(), self.queue.len());
        let mut waiting_bytes: usize = self.queue.iter().map(|waiting| waiting.bytes).sum();
        for fresh in before {
            match &fresh.fate {
                Fate::Start(starting) => busy.add(starting.job.is_barrier()),
                Fate::Queue(queued) => {
                    waiting += 1;
                    waiting_bytes += queued.bytes;
                }
                Fate::End(_) | Fate::Refuse(_) => {}
            }
        }
        let mut candidate = Waiting {
            run,
            job,
            lease,
            bytes: 0,
        };
        if waiting == 0 && busy.lets_start(candidate.job.is_barrier(), self.slots()) {
            return Fate::Start(candidate);
        }
        candidate.bytes = command.operation.to_string().len() + candidate.job.secrets_bytes();
        if waiting < WAITING_MAX && waiting_bytes + candidate.bytes <= WAITING_BYTES_MAX {
            Fate::Queue(candidate)
        } else {
            Fate::Refuse(NotStartedReason::LeaseExpired)
        }
    }

    /// Journals new commands in one write, then says so and lets them go.
    async fn take_on(&mut self, fresh: Vec<Fresh>) {
        if fresh.is_empty() {
            return;
        }
        let records = fresh.iter().flat_map(|fresh| self.records(fresh)).collect();
        if let Err(error) = self.append(records, Durability::Synced).await {
            tracing::warn!(%error, "commands cannot be journalled and are not started");
            for Fresh { run, .. } in fresh {
                // It has been said, so it must stay true when the disk takes records again.
                self.refused.insert(run.command_id, run.attempt);
                self.say_no_room(run);
            }
            return;
        }
        for Fresh { run, fate, .. } in fresh {
            let Run {
                command_id,
                attempt,
            } = run;
            match fate {
                Fate::Start(waiting) => {
                    self.say(AgentFrame::CommandReceived {
                        command_id,
                        attempt,
                    });
                    self.carry_out(waiting).await;
                }
                Fate::Queue(waiting) => {
                    self.say(AgentFrame::CommandReceived {
                        command_id,
                        attempt,
                    });
                    self.queue.push_back(waiting);
                }
                Fate::End(_) => {
                    self.say(AgentFrame::CommandReceived {
                        command_id,
                        attempt,
                    });
                    self.say_again(command_id);
                }
                Fate::Refuse(_) => self.say_again(command_id),
            }
        }
    }

    fn say_no_room(&self, run: Run) {
        self.say(AgentFrame::CommandNotStarted {
            command_id: run.command_id,
            attempt: run.attempt,
            reason: NotStartedReason::DiskFull.into(),
        });
    }

    fn records(&self, fresh: &Fresh) -> Vec<Record> {
        let Run {
            command_id,
            attempt,
        } = fresh.run;
        let expires_unix_ms = fresh.expires_unix_ms;
        let received = Record::Received {
            command_id,
            attempt,
            expires_unix_ms,
        };
        match &fresh.fate {
            Fate::Start(waiting) => vec![received, self.starting(waiting)],
            Fate::Queue(_) => vec![received],
            Fate::End(outcome) => {
                vec![
                    received,
                    Record::Exited {
                        command_id,
                        attempt,
                        outcome: outcome.clone(),
                    },
                ]
            }
            Fate::Refuse(reason) => {
                vec![Record::NotStarted {
                    command_id,
                    attempt,
                    expires_unix_ms,
                    reason: *reason,
                }]
            }
        }
    }

    pub(super) fn starting(&self, waiting: &Waiting) -> Record {
        Record::Starting {
            command_id: waiting.run.command_id,
            attempt: waiting.run.attempt,
            boot_id: self.settings.boot_id.clone(),
            execution: waiting.job.execution(self.machine.unix_ms()),
        }
    }

    async fn on_cancel(&mut self, command_id: CommandId, kill: bool) {
        let entry = self.entry(command_id);
        let expires_unix_ms = entry.map_or_else(
            || self.machine.unix_ms().saturating_add(OVERTAKEN_MS),
            |entry| entry.expires_unix_ms,
        );
        match decide::on_cancel(entry, kill) {
            OnCancel::LeaveTombstone => {
                let record = Record::Cancelled {
                    command_id,
                    expires_unix_ms,
                };
                if let Err(error) = self.append(vec![record], Durability::Synced).await {
                    tracing::warn!(%error, "cannot note a cancel");
                }
                self.say_again(command_id);
            }
            OnCancel::TakeFromQueue => {
                let waiting = self
                    .queue
                    .iter()
                    .position(|waiting| waiting.run.command_id == command_id);
                if let Some(waiting) = waiting.and_then(|at| self.queue.remove(at)) {
                    self.did_not_start(waiting.run, NotStartedReason::Cancelled)
                        .await;
                }
            }
            OnCancel::Kill => {
                if let Some(running) = self.running.get(&command_id) {
                    // Its job hears of it, or has just ended.
                    let _ = running.kill.send(true);
                }
            }
            OnCancel::SayAgain => self.say_again(command_id),
            OnCancel::Nothing => {}
        }
    }
}
