//! After a restart: what is done about each command the journal left open, and about folders it does not know.

use std::sync::Arc;

use fleetwright_protocol::{CommandId, NotStartedReason};

use super::Core;
use crate::decide::{self, Evidence, Recovery, Supervisor};
use crate::journal::{Entry, Execution, PowerRun, State};
use crate::operations::{ending, power};
use crate::procfs::Process;
use crate::run::{Run, RunChannels, RunEvent};
use crate::supervisor::exit_record::{Ending, ExitRecord};

impl Core {
    /// Decides about every open entry. What comes of it arrives as events of runs.
    pub(super) fn recover(&mut self) {
        let open: Vec<(CommandId, Entry)> = self
            .journal
            .iter()
            .flat_map(|journal| journal.entries().iter())
            .map(|(command_id, entry)| (command_id, entry.clone()))
            .collect();
        for (command_id, entry) in &open {
            self.recover_entry(
                Run {
                    command_id: *command_id,
                    attempt: entry.attempt,
                },
                entry,
            );
        }
        self.sweep_folders(&open);
    }

    fn recover_entry(&mut self, run: Run, entry: &Entry) {
        let record = self.machine.exit_record(run);
        let power = power_of(&entry.state);
        let evidence = evidence(record.as_ref(), power);
        let (same_boot, process) = self.supervisor_of(&entry.state);
        let supervisor = if process.is_some() {
            Supervisor::Running
        } else {
            Supervisor::Gone
        };
        match (
            decide::recover(&entry.state, same_boot, supervisor, evidence),
            process,
            record,
        ) {
            (Recovery::Keep, _, _) => {}
            (Recovery::NotStarted, _, _) => {
                let reason = NotStartedReason::AgentRestarted;
                self.found.push_back(RunEvent::NotStarted { run, reason });
            }
            (Recovery::Adopt, Some(process), _) => {
                tracing::info!(command = %run.command_id, pid = process.pid, "still runs; waiting for it");
                let execution = execution_of(&entry.state).unwrap_or(Execution::Supervised);
                let channels = self.channels(run, execution.is_barrier());
                Arc::clone(&self.machine).adopt(process, run, execution, channels);
            }
            (Recovery::GoOn(plan), _, _) => {
                tracing::info!(command = %run.command_id, "a plan whose supervisor is gone");
                let session_id = same_boot.then(|| supervisor_pid(&entry.state)).flatten();
                let channels = self.channels(run, plan.changes_power);
                Arc::clone(&self.machine).go_on(run, plan, session_id, channels);
            }
            (Recovery::TakeExitRecord, _, Some(record)) => {
                if let Some(outcome) = ending::outcome(record) {
                    self.found.push_back(RunEvent::ended(run, outcome));
                }
            }
            (Recovery::Returned(power), _, record) => {
                let outcome = power::returned(power, record, self.machine.unix_ms());
                self.found.push_back(RunEvent::ended(run, outcome));
            }
            (Recovery::AwaitBoot(power), _, record) => {
                tracing::info!(command = %run.command_id, kind = ?power.kind, "the host has not gone yet; waiting for it");
                let channels = self.channels(run, true);
                Arc::clone(&self.machine).await_boot(run, power, record, channels);
            }
            (Recovery::OutcomeUnknown | Recovery::Adopt | Recovery::TakeExitRecord, _, _) => {
                tracing::warn!(command = %run.command_id, "its outcome cannot be known");
                let session_id = same_boot.then(|| supervisor_pid(&entry.state)).flatten();
                // It holds a slot until nothing of it is left.
                let channels = self.channels(run, power.is_some());
                Arc::clone(&self.machine).give_up(run, session_id, channels.events);
            }
        }
    }

    /// Takes a slot for a run that an earlier agent started.
    fn channels(&mut self, run: Run, is_barrier: bool) -> RunChannels {
        RunChannels {
            events: self.events_sender.clone(),
            kill: self.note_running(run, None, is_barrier),
        }
    }

    /// Whether the entry's start was in this boot, and its supervisor if that still runs.
    fn supervisor_of(&self, state: &State) -> (bool, Option<Process>) {
        match state {
            State::Starting { boot_id, .. } => (**boot_id == *self.settings.boot_id, None),
            State::Started {
                boot_id,
                pid,
                start_ticks,
                ..
            } => {
                let same_boot = **boot_id == *self.settings.boot_id;
                let process = self.machine.process(*pid).filter(|found| {
                    same_boot && found.start_ticks == *start_ticks && !found.zombie
                });
                (same_boot, process)
            }
            State::Received
            | State::Exited(_)
            | State::NotStarted(_)
            | State::Closed(_)
            | State::CancelledUnseen => (false, None),
        }
    }

    /// Folders of runs the journal does not know, or knows to be over: the journal was lost, or the agent died between
    /// two steps. Whatever still runs there is ended; nobody will ask for its result.
    fn sweep_folders(&self, known: &[(CommandId, Entry)]) {
        for run in self.machine.runs_left() {
            let Run {
                command_id,
                attempt,
            } = run;
            let entry = known
                .iter()
                .find(|(known_id, entry)| *known_id == command_id && entry.attempt == attempt)
                .map(|(_, entry)| &entry.state);
            let needed = entry
                .is_some_and(|state| !matches!(state, State::Closed(_) | State::CancelledUnseen));
            if needed {
                continue;
            }
            tracing::info!(command = %command_id, "clearing up a run that is not in the journal");
            Arc::clone(&self.machine).clear_up(run);
        }
    }
}

fn evidence(record: Option<&ExitRecord>, power: Option<PowerRun>) -> Evidence {
    match record {
        None => Evidence::None,
        Some(ExitRecord {
            ending: Ending::NeverStarted,
            ..
        }) => Evidence::NeverStarted,
        Some(record) if power.is_some() && power::was_asked(record) => Evidence::Asked,
        Some(_) => Evidence::Ended,
    }
}

fn power_of(state: &State) -> Option<PowerRun> {
    execution_of(state).and_then(Execution::power)
}

fn execution_of(state: &State) -> Option<Execution> {
    match state {
        State::Starting { execution, .. } | State::Started { execution, .. } => Some(*execution),
        State::Received
        | State::Exited(_)
        | State::NotStarted(_)
        | State::Closed(_)
        | State::CancelledUnseen => None,
    }
}

fn supervisor_pid(state: &State) -> Option<u32> {
    match state {
        State::Started { pid, .. } => Some(*pid),
        State::Received
        | State::Starting { .. }
        | State::Exited(_)
        | State::NotStarted(_)
        | State::Closed(_)
        | State::CancelledUnseen => None,
    }
}
