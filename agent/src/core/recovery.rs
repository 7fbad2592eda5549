//! After a restart: what is done about each command the journal left open, and about folders it does not know.

use std::sync::Arc;

use fleetwright_protocol::{CommandId, NotStartedReason};

use super::Core;
use crate::decide::{self, Evidence, Recovery, Supervisor};
use crate::executor::{Run, RunEvent};
use crate::journal::{Entry, PowerRun, State};
use crate::operations::{ending, power};
use crate::procfs::{self, Process};
use crate::supervisor::exit_record::{Ending, ExitRecord};
use crate::{clock, run_folder};

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
        let folder = run_folder::path(&self.executor.data_dir, run.command_id, run.attempt);
        let record = ExitRecord::read(&folder);
        let power = power_of(&entry.state);
        let evidence = evidence(record.as_ref(), power);
        let (same_boot, process) = self.supervisor_of(&entry.state);
        let supervisor = if process.is_some() {
            Supervisor::Running
        } else {
            Supervisor::Gone
        };
        let events = self.events_sender.clone();
        match (
            decide::recover(&entry.state, same_boot, supervisor, evidence),
            process,
            record,
        ) {
            (Recovery::Keep, _, _) => {}
            (Recovery::NotStarted, _, _) => {
                let reason = NotStartedReason::AgentRestarted;
                later(events, RunEvent::NotStarted { run, reason });
            }
            (Recovery::Adopt, Some(process), _) => {
                tracing::info!(command = %run.command_id, pid = process.pid, "still runs; waiting for it");
                let kill = self.note_running(run, None, power.is_some());
                tokio::spawn(Arc::clone(&self.executor).adopt(process, run, power, events, kill));
            }
            (Recovery::TakeExitRecord, _, Some(record)) => {
                if let Some(outcome) = ending::outcome(record) {
                    later(events, RunEvent::ended(run, outcome));
                }
            }
            (Recovery::Returned(power), _, record) => {
                let outcome = power::returned(power, record, clock::unix_ms());
                later(events, RunEvent::ended(run, outcome));
            }
            (Recovery::AwaitBoot(power), _, record) => {
                tracing::info!(command = %run.command_id, kind = ?power.kind, "the host has not gone yet; waiting for it");
                let kill = self.note_running(run, None, true);
                let executor = Arc::clone(&self.executor);
                tokio::spawn(executor.await_boot(run, power, record, events, kill));
            }
            (Recovery::OutcomeUnknown | Recovery::Adopt | Recovery::TakeExitRecord, _, _) => {
                tracing::warn!(command = %run.command_id, "its outcome cannot be known");
                let session_id = same_boot.then(|| supervisor_pid(&entry.state)).flatten();
                // It holds a slot until nothing of it is left.
                self.note_running(run, None, power.is_some());
                tokio::spawn(Arc::clone(&self.executor).give_up(run, session_id, events));
            }
        }
    }

    /// Whether the entry's start was in this boot, and its supervisor if that still runs.
    fn supervisor_of(&self, state: &State) -> (bool, Option<Process>) {
        match state {
            State::Starting { boot_id, .. } => (**boot_id == *self.boot_id, None),
            State::Started {
                boot_id,
                pid,
                start_ticks,
                ..
            } => {
                let same_boot = **boot_id == *self.boot_id;
                let process = procfs::process(*pid).filter(|found| {
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
        let data_dir = self.executor.data_dir.clone();
        let Ok(folders) = std::fs::read_dir(run_folder::root(&data_dir)) else {
            return;
        };
        for name in folders
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
        {
            let Some((command_id, attempt)) = run_folder::parse_name(&name) else {
                continue;
            };
            let entry = known
                .iter()
                .find(|(known_id, entry)| *known_id == command_id && entry.attempt == attempt)
                .map(|(_, entry)| &entry.state);
            let needed = entry
                .is_some_and(|state| !matches!(state, State::Closed(_) | State::CancelledUnseen));
            if needed {
                continue;
            }
            let run = Run {
                command_id,
                attempt,
            };
            tracing::info!(command = %command_id, "clearing up a run that is not in the journal");
            tokio::spawn(Arc::clone(&self.executor).clear_up(run));
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
    match state {
        State::Starting { execution, .. } | State::Started { execution, .. } => execution.power(),
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

/// There may be more open entries than the channel holds, and nobody listens yet.
fn later(events: tokio::sync::mpsc::Sender<RunEvent>, event: RunEvent) {
    tokio::spawn(async move {
        // Without a listener the agent is shutting down already.
        let _ = events.send(event).await;
    });
}
