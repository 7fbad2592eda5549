//! The heart of the agent: takes commands, keeps the journal, starts jobs when it is their turn, and says what became
//! of them until the server knows. It has no connection of its own; `session` brings frames in and carries them out, so
//! that a test can do the same. What to do is decided in `decide`.

mod intake;
pub mod machine;
mod recovery;
mod reports;
mod starts;
pub mod uploads;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fleetwright_protocol::frame::{Capabilities, Hello, PROTOCOL_VERSION};
use fleetwright_protocol::{AgentFrame, CommandId, Facts, Open, ServerFrame, Session};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use crate::decide::Lease;
use crate::job::Job;
use crate::journal::{Durability, JournalError, JournalStore, Record};
use crate::run::{Run, RunEvent};
use machine::Machine;
use uploads::Uploads;

/// What the connection brings.
pub enum Input {
    /// There is a connection; frames for the server go into `control`, live output into `output`.
    Connected {
        control: mpsc::Sender<AgentFrame>,
        output: mpsc::Sender<AgentFrame>,
        facts: Box<Facts>,
        /// What the `hello` says of itself; on the disk by now.
        session: Option<Session>,
    },
    Frame(Box<ServerFrame>),
    Disconnected,
    /// The server takes another machine for this one: what has not started must not, until it has welcomed this one
    /// again.
    Disowned,
}

/// What happens to the core.
pub enum Event {
    /// What the connection has brought, in order.
    Inputs(Vec<Input>),
    Run(RunEvent),
    /// Time for housekeeping.
    Tick,
    /// A waiting command's lease may have run out.
    LeaseLook,
}

/// What the core is told once.
pub struct Settings {
    pub concurrency: u32,
    /// Names the time since the machine was last started.
    pub boot_id: String,
    /// Names the machine; empty if nothing does.
    pub machine_id: String,
    pub tags: Vec<String>,
    pub attributes: BTreeMap<String, String>,
}

pub struct Core {
    settings: Settings,
    machine: Arc<dyn Machine>,
    /// Away only while a blocking write has it.
    journal: Option<JournalStore>,
    connection: Option<mpsc::Sender<AgentFrame>>,
    /// See [`Input::Disowned`].
    is_disowned: bool,
    queue: VecDeque<Waiting>,
    running: BTreeMap<CommandId, Running>,
    /// When the end of a command was last said on this connection (boot time).
    said: BTreeMap<CommandId, u64>,
    uploads: Uploads,
    /// Attempts refused on this connection that the disk took no record of: the frame may come again.
    refused: BTreeMap<CommandId, u32>,
    /// Records the disk did not take; tried again.
    unwritten: Vec<Record>,
    /// What the start has found out of runs, to be dealt with first.
    found: VecDeque<RunEvent>,
    events: mpsc::Receiver<RunEvent>,
    events_sender: mpsc::Sender<RunEvent>,
}

/// The journal takes no record any more: nothing can start, and no end can be kept. Only a start of the agent reads it
/// anew.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal cannot be written any more")]
pub struct JournalLost;

/// A command whose turn has not come.
struct Waiting {
    run: Run,
    job: Job,
    lease: Lease,
    /// Of its operation as JSON; 0 of one that need not wait.
    bytes: usize,
}

struct Running {
    attempt: u32,
    /// `None` for one that an earlier agent started.
    lease: Option<Lease>,
    is_barrier: bool,
    kill: watch::Sender<bool>,
}

/// Frames handled together share one sync of the journal.
const BATCH_FRAMES_MAX: usize = 64;
/// Events of runs that wait for the core; runs wait in turn when it is full.
const EVENTS_WAITING_MAX: usize = 64;
/// Housekeeping: repeating what was not acknowledged, writing what the disk did not take.
const TICK: Duration = Duration::from_secs(5);
/// How long a waiting command's lease may be late in being noticed, after the machine slept.
const LEASE_LOOK: Duration = Duration::from_secs(1);

impl Core {
    /// Reads what the journal left open and deals with it: adopts, reports, or gives up.
    pub fn new(settings: Settings, machine: Arc<dyn Machine>, journal: JournalStore) -> Self {
        let (events_sender, events) = mpsc::channel(EVENTS_WAITING_MAX);
        let mut core = Self {
            settings,
            machine,
            journal: Some(journal),
            connection: None,
            is_disowned: false,
            queue: VecDeque::new(),
            running: BTreeMap::new(),
            said: BTreeMap::new(),
            uploads: Uploads::default(),
            refused: BTreeMap::new(),
            unwritten: Vec::new(),
            found: VecDeque::new(),
            events,
            events_sender,
        };
        core.recover();
        core
    }

    /// Works until the inputs end, or the journal is lost. Runs under way go on under their supervisors.
    pub async fn run(mut self, mut inputs: mpsc::Receiver<Input>) -> Result<(), JournalLost> {
        self.settle().await;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH_FRAMES_MAX);
        while self.has_journal() {
            let lease_wait = self.until_next_lease_end();
            tokio::select! {
                count = inputs.recv_many(&mut batch, BATCH_FRAMES_MAX) => {
                    if count == 0 {
                        return Ok(());
                    }
                    self.turn(Event::Inputs(std::mem::take(&mut batch))).await;
                }
                Some(event) = self.events.recv() => self.turn(Event::Run(event)).await,
                _ = tick.tick() => self.turn(Event::Tick).await,
                () = tokio::time::sleep(lease_wait), if !self.queue.is_empty() => {
                    self.turn(Event::LeaseLook).await;
                }
            }
        }
        Err(JournalLost)
    }

    /// Whether the journal still takes records, between two turns. [`Core::run`] ends when it does not.
    pub fn has_journal(&self) -> bool {
        self.journal.as_ref().is_some_and(JournalStore::is_usable)
    }

    /// Deals with what the start has found out of runs: before a server is told anything.
    pub async fn settle(&mut self) {
        while let Some(event) = self.found.pop_front() {
            self.turn(Event::Run(event)).await;
        }
    }

    /// Deals with one thing that happens, and starts what may start then.
    pub async fn turn(&mut self, event: Event) {
        match event {
            Event::Inputs(inputs) => self.take_inputs(inputs).await,
            Event::Run(event) => self.on_run_event(event).await,
            Event::Tick => self.on_tick().await,
            Event::LeaseLook => {}
        }
        self.start_what_may().await;
    }

    /// Takes what runs have told, one at a time. [`Core::run`] does this by itself.
    pub fn told(&mut self) -> Option<RunEvent> {
        self.events.try_recv().ok()
    }

    fn connected(
        &mut self,
        control: mpsc::Sender<AgentFrame>,
        output: mpsc::Sender<AgentFrame>,
        facts: Facts,
        session: Option<Session>,
    ) {
        let hello = Hello {
            protocol: PROTOCOL_VERSION.to_owned(),
            journal_id: self.journal_id(),
            boot_id: self.settings.boot_id.clone(),
            machine_id: self.settings.machine_id.clone(),
            session,
            facts,
            tags: self.settings.tags.clone(),
            attributes: self.settings.attributes.clone(),
            capabilities: Capabilities {
                operations: self
                    .machine
                    .operations()
                    .into_iter()
                    .map(Open::Known)
                    .collect(),
                concurrency: self.settings.concurrency,
            },
            journal: self.open_entries(),
        };
        self.connection = Some(control);
        self.said.clear();
        self.refused.clear();
        self.say(AgentFrame::Hello(Box::new(hello)));
        self.machine.show_output(Some(output));
    }

    fn disconnected(&mut self) {
        self.connection = None;
        self.machine.show_output(None);
        self.said.clear();
        self.uploads.pause();
    }

    /// Hands a frame to the connection. One that is not taken is said again by the tick, or asked for by the server.
    fn say(&self, frame: AgentFrame) {
        if let Some(connection) = &self.connection
            && connection.try_send(frame).is_err()
        {
            tracing::debug!("the connection does not keep up; a frame was dropped");
        }
    }

    /// Appends to the journal, off this thread if it must be on disk.
    async fn append(
        &mut self,
        records: Vec<Record>,
        durability: Durability,
    ) -> Result<(), JournalError> {
        let Some(mut journal) = self.journal.take() else {
            return Err(JournalError::Broken);
        };
        if durability == Durability::Written {
            let written = journal.append(&records, durability);
            self.journal = Some(journal);
            return written;
        }
        let now_unix_ms = self.machine.unix_ms();
        let work = tokio::task::spawn_blocking(move || {
            let written = journal.append(&records, durability);
            if let Err(error) = journal.compact_if_grown(now_unix_ms) {
                tracing::warn!(%error, "cannot compact the journal");
            }
            (journal, written)
        });
        match work.await {
            Ok((journal, written)) => {
                self.journal = Some(journal);
                written
            }
            // It is lost, wherever it was: this turn is the last one.
            Err(_) => Err(JournalError::Broken),
        }
    }

    /// Notes an end. If the disk does not take it now, it is tried again; what was said stays true meanwhile.
    async fn append_end(&mut self, record: Record, durability: Durability) -> bool {
        match self.append(vec![record.clone()], durability).await {
            Ok(()) => true,
            Err(JournalError::Impossible(error)) => {
                tracing::error!(%error, "the journal refuses an end");
                false
            }
            Err(error @ (JournalError::DiskFull | JournalError::Io(_) | JournalError::Broken)) => {
                tracing::warn!(%error, "an end could not be written; trying again");
                self.unwritten.push(record);
                false
            }
        }
    }
}
