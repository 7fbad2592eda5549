//! What the core needs of the machine it runs on: its clocks, the processes of runs, and the folders they leave. The
//! real one is `executor`; a simulation has others, whose time, processes and power cuts it makes up.

use std::io;
use std::sync::Arc;

use fleetwright_protocol::{AgentFrame, NotStartedReason, OperationType, Outcome};
use tokio::sync::mpsc;

use super::uploads::Part;
use crate::job::Job;
use crate::journal::{Execution, PlanRun, PowerRun};
use crate::procfs::Process;
use crate::run::{Run, RunChannels, RunEvent};
use crate::supervisor::exit_record::ExitRecord;

/// Why a job that is valid is not carried out here.
#[derive(Debug)]
pub enum Inability {
    NotStarted(NotStartedReason),
    /// With what it is answered.
    Ended(Box<Outcome>),
}

/// Methods that take an `Arc` begin something and return at once; what comes of it arrives as events.
pub trait Machine: Send + Sync + 'static {
    /// Milliseconds since boot, including time asleep.
    fn boot_ms(&self) -> u64;
    /// Milliseconds since 1970 by the wall clock, which may step.
    fn unix_ms(&self) -> u64;

    /// The operation types that can be carried out here.
    fn operations(&self) -> Vec<OperationType>;
    fn refusal(&self, job: &Job) -> Option<Inability>;
    /// Whether there is no room for what a run leaves.
    fn lacks_room(&self) -> bool;

    /// `execution` is as the journal has it.
    fn begin(self: Arc<Self>, job: Job, run: Run, execution: Execution, channels: RunChannels);
    /// Waits for a supervisor that an earlier agent started.
    fn adopt(
        self: Arc<Self>,
        supervisor: Process,
        run: Run,
        execution: Execution,
        channels: RunChannels,
    );
    /// Goes on with a plan whose supervisor is gone, as far as its log allows. `session_id` was the supervisor's, if
    /// that was in this boot.
    fn go_on(
        self: Arc<Self>,
        run: Run,
        plan: PlanRun,
        session_id: Option<u32>,
        channels: RunChannels,
    );
    /// Waits on for a machine that an earlier agent told to go.
    fn await_boot(
        self: Arc<Self>,
        run: Run,
        power: PowerRun,
        record: Option<ExitRecord>,
        channels: RunChannels,
    );
    /// Ends what is left of a run nobody supervises any more, and says that its outcome is unknown.
    fn give_up(self: Arc<Self>, run: Run, session_id: Option<u32>, events: mpsc::Sender<RunEvent>);
    /// Ends what is left of a run nobody will ask for, and removes its folder.
    fn clear_up(self: Arc<Self>, run: Run);

    /// The process with this pid, if there is one.
    fn process(&self, pid: u32) -> Option<Process>;
    /// How a run ended, if it has left word.
    fn exit_record(&self, run: Run) -> Option<ExitRecord>;
    /// The runs of which there are folders.
    fn runs_left(&self) -> Vec<Run>;
    /// Removes the folder of a run.
    fn forget(&self, run: Run);
    /// Reads what was kept of a run's output.
    fn read_part(&self, part: &Part) -> io::Result<Vec<u8>>;
    /// Waits for processes that have ended, without waiting for any that has not.
    fn reap(&self);
    /// Where live output goes from now on.
    fn show_output(&self, connection: Option<mpsc::Sender<AgentFrame>>);
}
