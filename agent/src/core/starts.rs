//! Whose turn it is, and what running jobs tell.

use std::sync::Arc;
use std::time::Duration;

use fleetwright_protocol::{AgentFrame, NotStartedReason, Outcome};
use tokio::sync::watch;

use super::{Core, LEASE_LOOK, Running, Waiting};
use crate::decide::{Busy, Lease};
use crate::journal::{Durability, Execution, Record, State};
use crate::run::{Run, RunChannels, RunEvent};

impl Core {
    pub(super) fn slots(&self) -> usize {
        usize::try_from(self.settings.concurrency).unwrap_or(1)
    }

    /// What runs now.
    pub(super) fn busy(&self) -> Busy {
        let mut busy = Busy::default();
        for running in self.running.values() {
            busy.add(running.is_barrier);
        }
        busy
    }

    /// How long until a waiting command may no longer start.
    pub(super) fn until_next_lease_end(&self) -> Duration {
        let now_ms = self.machine.boot_ms();
        self.queue
            .iter()
            .map(|waiting| {
                Duration::from_millis(waiting.lease.ends_boot_ms().saturating_sub(now_ms))
            })
            .min()
            .map_or(LEASE_LOOK, |left| left.min(LEASE_LOOK))
    }

    /// Starts waiting commands while there are free slots, in order, and gives up those whose lease ran out.
    pub(super) async fn start_what_may(&mut self) {
        let now_ms = self.machine.boot_ms();
        let late: Vec<(Run, NotStartedReason)> = self
            .queue
            .iter()
            .filter_map(|waiting| Some((waiting.run, waiting.lease.check(now_ms).err()?)))
            .collect();
        for (run, reason) in late {
            self.queue.retain(|waiting| waiting.run != run);
            self.did_not_start(run, reason).await;
        }
        while let Some(next) = self.queue.front()
            && self.busy().lets_start(next.job.is_barrier(), self.slots())
            && let Some(next) = self.queue.pop_front()
        {
            match self
                .append(vec![self.starting(&next)], Durability::Synced)
                .await
            {
                Ok(()) => self.carry_out(next).await,
                Err(error) => {
                    tracing::warn!(%error, "a start cannot be journalled");
                    self.did_not_start(next.run, NotStartedReason::DiskFull)
                        .await;
                }
            }
        }
    }

    /// Lets a command go whose start is in the journal.
    pub(super) async fn carry_out(&mut self, waiting: Waiting) {
        let Waiting {
            run, job, lease, ..
        } = waiting;
        // The sync may have taken its time.
        if let Err(reason) = lease.check(self.machine.boot_ms()) {
            self.did_not_start(run, reason).await;
            return;
        }
        // As it is in the journal, where the deadline of a change of power is.
        let execution = self
            .execution(run)
            .unwrap_or_else(|| job.execution(self.machine.unix_ms()));
        if execution == Execution::InProcess {
            // No supervisor says it later.
            let Run {
                command_id,
                attempt,
            } = run;
            self.say(AgentFrame::CommandStarted {
                command_id,
                attempt,
            });
        }
        let kill = self.note_running(run, Some(lease), execution.is_barrier());
        let channels = RunChannels {
            events: self.events_sender.clone(),
            kill,
        };
        Arc::clone(&self.machine).begin(job, run, execution, channels);
    }

    /// Takes a slot. Returns what the job listens to.
    pub(super) fn note_running(
        &mut self,
        run: Run,
        lease: Option<Lease>,
        is_barrier: bool,
    ) -> watch::Receiver<bool> {
        let (kill, listen) = watch::channel(false);
        self.running.insert(
            run.command_id,
            Running {
                attempt: run.attempt,
                lease,
                is_barrier,
                kill,
            },
        );
        listen
    }

    pub(super) async fn on_run_event(&mut self, event: RunEvent) {
        match event {
            RunEvent::Launched {
                run,
                pid,
                start_ticks,
                go,
            } => {
                let Run {
                    command_id,
                    attempt,
                } = run;
                let state = self.entry(command_id).map(|entry| &entry.state);
                let goes_on = matches!(state, Some(State::Started { .. }));
                let started = if goes_on {
                    Record::Resumed {
                        command_id,
                        attempt,
                        boot_id: self.settings.boot_id.clone(),
                        pid,
                        start_ticks,
                    }
                } else {
                    Record::Started {
                        command_id,
                        attempt,
                        pid,
                        start_ticks,
                    }
                };
                let may_go = self.last_word(run, started).await;
                // An error means that the job has ended by itself, which it will tell.
                if go.send(may_go).is_ok() && may_go.is_ok() {
                    self.say(AgentFrame::CommandStarted {
                        command_id,
                        attempt,
                    });
                }
            }
            RunEvent::NotStarted { run, reason } => {
                self.free_slot(run);
                self.did_not_start(run, reason).await;
            }
            RunEvent::Ended { run, outcome } => self.ended(run, outcome).await,
        }
    }

    /// Gives up what waits: it may have been given to another machine with this one's identity.
    pub(super) async fn disowned(&mut self) {
        self.is_disowned = true;
        for waiting in std::mem::take(&mut self.queue) {
            tracing::warn!(command = %waiting.run.command_id, "the server has taken it back; it is not started");
            // The server ends a lease; that of a command is the server's to end.
            self.did_not_start(waiting.run, NotStartedReason::LeaseExpired)
                .await;
        }
    }

    /// Whether a supervisor that is ready may go: in time, and with its start in the journal.
    async fn last_word(&mut self, run: Run, started: Record) -> Result<(), NotStartedReason> {
        let lease = self
            .running
            .get(&run.command_id)
            .and_then(|running| running.lease);
        if let Some(lease) = lease {
            if self.is_disowned {
                return Err(NotStartedReason::LeaseExpired);
            }
            lease.check(self.machine.boot_ms())?;
        }
        // What the machine's own end must not undo is on disk before it.
        let durability = match self.execution(run) {
            Some(Execution::Power(_) | Execution::Plan(_)) => Durability::Synced,
            Some(Execution::Supervised | Execution::InProcess) | None => Durability::Written,
        };
        let noted = self.append(vec![started], durability).await;
        noted.map_err(|error| {
            tracing::warn!(%error, "a start cannot be journalled");
            NotStartedReason::DiskFull
        })
    }

    /// Notes and says that a command did not start under this attempt.
    pub(super) async fn did_not_start(&mut self, run: Run, reason: NotStartedReason) {
        let Run {
            command_id,
            attempt,
        } = run;
        let expires_unix_ms = self
            .entry(command_id)
            .map_or(0, |entry| entry.expires_unix_ms);
        let record = Record::NotStarted {
            command_id,
            attempt,
            expires_unix_ms,
            reason,
        };
        // Not synced: without it the command is found waiting after a power cut, which proves the same.
        if self.append_end(record, Durability::Written).await {
            self.say_again(command_id);
        } else {
            self.say(AgentFrame::CommandNotStarted {
                command_id,
                attempt,
                reason: reason.into(),
            });
        }
        self.machine.forget(run);
    }

    async fn ended(&mut self, run: Run, outcome: Box<Outcome>) {
        let Run {
            command_id,
            attempt,
        } = run;
        self.free_slot(run);
        // A supervisor has left a record of its own.
        let durability = match self.execution(run) {
            Some(Execution::InProcess | Execution::Power(_) | Execution::Plan(_)) => {
                Durability::Synced
            }
            Some(Execution::Supervised) | None => Durability::Written,
        };
        tracing::info!(command = %command_id, attempt, status = ?outcome.status, reason = ?outcome.reason, "ended");
        let record = Record::Exited {
            command_id,
            attempt,
            outcome: outcome.clone(),
        };
        if self.append_end(record, durability).await {
            self.say_again(command_id);
        } else if !outcome.stdout.in_parts && !outcome.stderr.in_parts {
            // True all the same; it is said again, and acknowledged, once the disk takes it.
            self.say(AgentFrame::CommandFinished {
                command_id,
                attempt,
                outcome,
            });
        }
    }

    fn free_slot(&mut self, run: Run) {
        if self
            .running
            .get(&run.command_id)
            .is_some_and(|running| running.attempt == run.attempt)
        {
            self.running.remove(&run.command_id);
        }
    }

    /// Where a command runs that has not ended.
    fn execution(&self, run: Run) -> Option<Execution> {
        match &self.entry(run.command_id)?.state {
            State::Starting { execution, .. } | State::Started { execution, .. } => {
                Some(*execution)
            }
            State::Received
            | State::Exited(_)
            | State::NotStarted(_)
            | State::Closed(_)
            | State::CancelledUnseen => None,
        }
    }
}
