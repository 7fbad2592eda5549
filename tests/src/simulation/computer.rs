//! A simulated machine: its clocks, its disk, the processes on it, and what of all that survives an agent that dies, a
//! power cut, or a lost disk. The agent's real core sees it through [`Hands`], its real journal through `open_plate`.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use fleetwright_agent::core::machine::{Inability, Machine};
use fleetwright_agent::core::uploads::Part;
use fleetwright_agent::job::{Job, SUPPORTED};
use fleetwright_agent::journal::{Execution, PlanRun, PowerRun};
use fleetwright_agent::procfs::Process;
use fleetwright_agent::run::{Run, RunChannels, RunEvent};
use fleetwright_agent::sessions::Line;
use fleetwright_agent::supervisor::exit_record::{Ending, ExitRecord};
use fleetwright_protocol::{AgentFrame, CommandId, NotStartedReason, OperationType, Session};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::plate::Plate;
use crate::seed::Choices;

/// Milliseconds since 1970 at the simulation's zero.
pub const START_MS: u64 = 1_700_000_000_000;

pub type RunKey = (CommandId, u32);

/// How far a run has come.
#[derive(Debug)]
pub enum Stage {
    /// The agent is making its folder and its supervisor.
    Preparing,
    /// A supervisor waits for the word to go.
    Waiting(oneshot::Receiver<Result<(), NotStartedReason>>),
    /// The word is on its way.
    Told,
    /// The script runs.
    Running,
    /// Inside the agent, and about to change something.
    InProcess,
    /// The same, and something is changed.
    Changed,
}

#[derive(Debug)]
pub struct Running {
    /// Tells this process from others of the same run.
    pub serial: u64,
    pub pid: u32,
    pub start_ticks: u64,
    pub stage: Stage,
    pub kill: Option<watch::Receiver<bool>>,
    pub killing: bool,
    /// Somebody in the living agent waits for its end.
    pub heard: bool,
    pub timeout_seconds: u64,
}

/// What the core has asked for, for the world to carry out in time.
#[derive(Debug)]
pub enum Wish {
    Begun(RunKey, u64),
    Adopted(RunKey),
    GiveUp(RunKey),
    ClearUp(RunKey),
}

/// What a word to go has come to.
#[derive(Debug)]
pub enum Word {
    Go(RunKey, u64),
    Stay(RunKey, NotStartedReason),
}

pub struct Inside {
    /// The true time.
    pub now_us: i64,
    pub booted_us: i64,
    pub boots: u32,
    pub wall_offset_ms: i64,
    pub plate: Plate,
    pub running: BTreeMap<RunKey, Running>,
    /// Folders of runs, with their exit records.
    pub folders: BTreeMap<RunKey, Option<ExitRecord>>,
    pub wishes: Vec<Wish>,
    pub words: Vec<Word>,
    /// Where the agent's frames go, to know how many were said when it died.
    pub frames: Option<mpsc::Sender<AgentFrame>>,
    pub frames_said: usize,
    /// Its agent's sessions. They are synced before they are said, and outlive the journal's disk.
    pub sessions: Line,
    next: u64,
}

/// One machine. Cloning it gives another handle on the same one.
#[derive(Clone)]
pub struct Computer(Arc<Mutex<Inside>>);

impl Computer {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inside {
            now_us: 0,
            booted_us: -1_000_000,
            boots: 1,
            wall_offset_ms: 0,
            plate: Plate::new(Choices::new(seed)),
            running: BTreeMap::new(),
            folders: BTreeMap::new(),
            wishes: Vec::new(),
            words: Vec::new(),
            frames: None,
            frames_said: 0,
            sessions: Line::default(),
            next: 0,
        })))
    }

    pub fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().expect("nothing panics while holding it")
    }

    pub fn hands(&self) -> Arc<Hands> {
        Arc::new(Hands(self.clone()))
    }
}

impl Inside {
    pub fn boot_id(&self) -> String {
        format!("boot-{}", self.boots)
    }

    pub fn unix_ms(&self) -> u64 {
        let true_ms = START_MS.cast_signed() + self.now_us / 1_000;
        (true_ms + self.wall_offset_ms).cast_unsigned()
    }

    fn boot_ms(&self) -> u64 {
        ((self.now_us - self.booted_us) / 1_000).cast_unsigned()
    }

    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Another session, under a name that nobody else uses.
    pub fn begin_session(&mut self, name: u64) -> Session {
        let session = self.sessions.next(Uuid::from_u128(name.into()));
        self.sessions.begun(session.clone());
        session
    }

    /// Whether the agent has been stopped in the middle of something: what it does now, it does not do.
    pub fn is_struck(&self) -> bool {
        self.plate.is_struck()
    }

    /// Keeps what was truly said before the agent was stopped.
    pub fn note_strike(&mut self) {
        self.hear_words();
        self.frames_said = self
            .frames
            .as_ref()
            .map_or(0, |frames| frames.max_capacity() - frames.capacity());
    }

    /// Hears which supervisors have been told to go, or not to.
    pub fn hear_words(&mut self) {
        for (key, running) in &mut self.running {
            let Stage::Waiting(word) = &mut running.stage else {
                continue;
            };
            match word.try_recv() {
                Ok(Ok(())) => {
                    running.stage = Stage::Told;
                    self.words.push(Word::Go(*key, running.serial));
                }
                Ok(Err(reason)) => self.words.push(Word::Stay(*key, reason)),
                Err(_) => {}
            }
        }
    }

    /// Starts a supervisor for a run that is being prepared; returns what the agent is told.
    pub fn launch(&mut self, key: RunKey) -> Option<RunEvent> {
        let (go, word) = oneshot::channel();
        let (pid, start_ticks) = (100 + self.next() as u32, self.boot_ms() / 10);
        let running = self.running.get_mut(&key)?;
        (running.pid, running.start_ticks) = (pid, start_ticks);
        running.stage = Stage::Waiting(word);
        Some(RunEvent::Launched {
            run: run(key),
            pid,
            start_ticks,
            go,
        })
    }

    /// A supervisor ends and leaves its record. Returns whether somebody waits for it, and the record.
    pub fn end(&mut self, key: RunKey, ending: Ending) -> Option<(bool, ExitRecord)> {
        let running = self.running.remove(&key)?;
        let record = ExitRecord::without_output(ending, 10);
        if let Some(folder) = self.folders.get_mut(&key) {
            *folder = Some(record.clone());
        }
        Some((running.heard, record))
    }

    /// The agent's process is gone: what lives inside it is too, its supervisors are not.
    pub fn agent_dies(&mut self) {
        self.running.retain(|_, running| {
            running.heard = false;
            running.kill = None;
            match running.stage {
                Stage::Preparing | Stage::InProcess | Stage::Changed => false,
                Stage::Waiting(_) | Stage::Told | Stage::Running => true,
            }
        });
        self.wishes.clear();
        self.frames = None;
        self.sessions.was_welcomed = false;
    }

    /// Everything stops at once; what was not synced may be lost.
    pub fn power_cut(&mut self) {
        self.agent_dies();
        self.running.clear();
        self.plate.power_cut();
        self.boots += 1;
        self.booted_us = self.now_us;
    }

    /// The agent's folder is wiped.
    pub fn lose_disk(&mut self) {
        self.plate.wipe();
        self.folders.clear();
    }

    fn begin(&mut self, job: &Job, key: RunKey, channels: RunChannels) {
        let serial = self.next();
        let stage = match job.execution(0) {
            Execution::InProcess => Stage::InProcess,
            Execution::Supervised | Execution::Power(_) | Execution::Plan(_) => Stage::Preparing,
        };
        self.folders.insert(key, None);
        let running = Running {
            serial,
            pid: 0,
            start_ticks: 0,
            stage,
            kill: Some(channels.kill),
            killing: false,
            heard: true,
            timeout_seconds: job.timeout_seconds,
        };
        self.running.insert(key, running);
        self.wishes.push(Wish::Begun(key, serial));
    }
}

pub fn run((command_id, attempt): RunKey) -> Run {
    Run {
        command_id,
        attempt,
    }
}

/// The machine as the agent's core sees it.
pub struct Hands(Computer);

impl Hands {
    /// What the core does after it has been stopped does not happen.
    fn unless_struck(&self, work: impl FnOnce(&mut Inside)) {
        let mut inside = self.0.inside();
        if !inside.is_struck() {
            work(&mut inside);
        }
    }
}

impl Machine for Hands {
    fn boot_ms(&self) -> u64 {
        self.0.inside().boot_ms()
    }

    fn unix_ms(&self) -> u64 {
        self.0.inside().unix_ms()
    }

    fn operations(&self) -> Vec<OperationType> {
        SUPPORTED.to_vec()
    }

    fn refusal(&self, _job: &Job) -> Option<Inability> {
        None
    }

    fn lacks_room(&self) -> bool {
        self.0.inside().plate.leaves_no_room
    }

    fn begin(self: Arc<Self>, job: Job, run: Run, _execution: Execution, channels: RunChannels) {
        let key = (run.command_id, run.attempt);
        self.unless_struck(|inside| inside.begin(&job, key, channels));
    }

    fn adopt(
        self: Arc<Self>,
        _supervisor: Process,
        run: Run,
        _execution: Execution,
        channels: RunChannels,
    ) {
        let key = (run.command_id, run.attempt);
        self.unless_struck(|inside| {
            if let Some(running) = inside.running.get_mut(&key) {
                running.heard = true;
                running.kill = Some(channels.kill);
            }
            inside.wishes.push(Wish::Adopted(key));
        });
    }

    fn go_on(
        self: Arc<Self>,
        run: Run,
        _plan: PlanRun,
        _session_id: Option<u32>,
        _channels: RunChannels,
    ) {
        // No simulated command is a plan.
        self.unless_struck(|inside| {
            let key = (run.command_id, run.attempt);
            inside.wishes.push(Wish::GiveUp(key));
        });
    }

    fn await_boot(
        self: Arc<Self>,
        run: Run,
        _power: PowerRun,
        _record: Option<ExitRecord>,
        _channels: RunChannels,
    ) {
        // No simulated command changes the machine's power.
        self.unless_struck(|inside| {
            inside
                .wishes
                .push(Wish::GiveUp((run.command_id, run.attempt)));
        });
    }

    fn give_up(
        self: Arc<Self>,
        run: Run,
        _session_id: Option<u32>,
        _events: mpsc::Sender<RunEvent>,
    ) {
        let key = (run.command_id, run.attempt);
        self.unless_struck(|inside| inside.wishes.push(Wish::GiveUp(key)));
    }

    fn clear_up(self: Arc<Self>, run: Run) {
        let key = (run.command_id, run.attempt);
        self.unless_struck(|inside| inside.wishes.push(Wish::ClearUp(key)));
    }

    fn process(&self, pid: u32) -> Option<Process> {
        let inside = self.0.inside();
        let running = inside.running.values().find(|running| running.pid == pid)?;
        Some(Process {
            pid,
            parent_pid: 1,
            session_id: pid,
            zombie: false,
            start_ticks: running.start_ticks,
        })
    }

    fn exit_record(&self, run: Run) -> Option<ExitRecord> {
        let inside = self.0.inside();
        inside.folders.get(&(run.command_id, run.attempt))?.clone()
    }

    fn runs_left(&self) -> Vec<Run> {
        self.0.inside().folders.keys().copied().map(run).collect()
    }

    fn forget(&self, run: Run) {
        self.unless_struck(|inside| {
            inside.folders.remove(&(run.command_id, run.attempt));
        });
    }

    fn read_part(&self, _part: &Part) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn reap(&self) {}

    fn show_output(&self, _connection: Option<mpsc::Sender<AgentFrame>>) {}
}
