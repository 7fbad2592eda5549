//! The machine this program runs on, as the core sees it: real clocks, real processes, real folders.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use fleetwright_protocol::outcome::FailureReason;
use fleetwright_protocol::{AgentFrame, NotStartedReason, Operation, OperationType, Outcome};
use tokio::sync::mpsc;

use super::Executor;
use crate::core::machine::{Inability, Machine};
use crate::core::uploads::Part;
use crate::job::Job;
use crate::journal::{Execution, PlanRun, PowerRun};
use crate::procfs::{self, Process};
use crate::run::{Run, RunChannels, RunEvent};
use crate::supervisor::exit_record::ExitRecord;
use crate::supervisor::spool;
use crate::{abilities, clock, policy, run_folder};

/// Room a run needs: both ends of two streams (4 MiB) twice, and the journal.
const FREE_BYTES_MIN: u64 = 16 * 1024 * 1024;

impl Executor {
    fn folder(&self, run: Run) -> std::path::PathBuf {
        run_folder::path(&self.data_dir, run.command_id, run.attempt)
    }
}

impl Machine for Executor {
    fn boot_ms(&self) -> u64 {
        clock::boot_ms()
    }

    fn unix_ms(&self) -> u64 {
        clock::unix_ms()
    }

    fn operations(&self) -> Vec<OperationType> {
        abilities::operations(&self.system)
    }

    fn refusal(&self, job: &Job) -> Option<Inability> {
        let kind = job.operation.operation_type();
        if let Err(why) = abilities::check(kind, &self.system) {
            tracing::warn!(operation = kind.as_str(), why, "not for this host");
            return Some(Inability::NotStarted(NotStartedReason::Unsupported));
        }
        let allowed = policy::check(&self.policy, &job.operation, &job.options, &self.own_user);
        let refused = match (&job.operation, allowed) {
            (Operation::ApplyDeploymentPlan(_), allowed) => {
                abilities::plan_refusal(self, job, allowed.err())
            }
            (_, Ok(())) => None,
            (_, Err(why)) => {
                let why = why.to_string();
                Some(Outcome::failed(FailureReason::RefusedByPolicy, why))
            }
        };
        refused.map(|outcome| Inability::Ended(Box::new(outcome)))
    }

    fn lacks_room(&self) -> bool {
        rustix::fs::statvfs(&self.data_dir)
            .is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) < FREE_BYTES_MIN)
    }

    fn begin(self: Arc<Self>, job: Job, run: Run, execution: Execution, channels: RunChannels) {
        tokio::spawn(self.carry_out(job, run, execution, channels));
    }

    fn adopt(
        self: Arc<Self>,
        supervisor: Process,
        run: Run,
        execution: Execution,
        channels: RunChannels,
    ) {
        tokio::spawn(self.follow_adopted(supervisor, run, execution, channels));
    }

    fn go_on(
        self: Arc<Self>,
        run: Run,
        plan: PlanRun,
        session_id: Option<u32>,
        channels: RunChannels,
    ) {
        tokio::spawn(self.go_on_with_plan(run, plan, session_id, channels));
    }

    fn await_boot(
        self: Arc<Self>,
        run: Run,
        power: PowerRun,
        record: Option<ExitRecord>,
        channels: RunChannels,
    ) {
        let RunChannels { events, kill } = channels;
        tokio::spawn(self.follow_power(run, power, record, events, kill));
    }

    fn give_up(self: Arc<Self>, run: Run, session_id: Option<u32>, events: mpsc::Sender<RunEvent>) {
        tokio::spawn(self.end_unknown(run, session_id, events));
    }

    fn clear_up(self: Arc<Self>, run: Run) {
        tokio::spawn(self.end_forgotten(run));
    }

    fn process(&self, pid: u32) -> Option<Process> {
        procfs::process(pid)
    }

    fn exit_record(&self, run: Run) -> Option<ExitRecord> {
        ExitRecord::read(&self.folder(run))
    }

    fn runs_left(&self) -> Vec<Run> {
        let folders = std::fs::read_dir(run_folder::root(&self.data_dir));
        folders
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let (command_id, attempt) = run_folder::parse_name(&name)?;
                Some(Run {
                    command_id,
                    attempt,
                })
            })
            .collect()
    }

    fn forget(&self, run: Run) {
        run_folder::remove(&self.folder(run));
    }

    fn read_part(&self, part: &Part) -> io::Result<Vec<u8>> {
        let folder = run_folder::path(&self.data_dir, part.command_id, part.attempt);
        let file = File::open(spool::section_path(&folder, part.stream, part.section))?;
        let mut data = vec![0; usize::try_from(part.bytes).unwrap_or_default()];
        file.read_exact_at(&mut data, part.offset)?;
        Ok(data)
    }

    fn reap(&self) {
        self.launcher.reap();
    }

    fn show_output(&self, connection: Option<mpsc::Sender<AgentFrame>>) {
        self.live.set(connection);
    }
}
