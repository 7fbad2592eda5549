//! One simulated agent: connects with its certificate, says hello, answers commands as told, keeps a journal in
//! memory, reconnects, and never starts a (command, attempt) twice. It keeps count of what it was asked.

use std::collections::BTreeMap;
use std::io::Result;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use fleetwright_protocol::frame::{AgentFrame, Capabilities, Hello, JournalEntry, JournalState};
use fleetwright_protocol::outcome::{FailureReason, NotStartedReason, OutputSummary};
use fleetwright_protocol::{
    CommandId, Heartbeat, JournalId, Open, OperationType, Outcome, PROTOCOL_VERSION,
};
use serde::Deserialize;
use tokio::sync::watch;

use super::facts::facts;
use super::identity::Identity;
use super::websocket::{Message, Socket};

/// As real agents wait: anywhere up to a second after the first failure, doubling, up to a minute.
const FIRST_PAUSE_MAX: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
pub const CONNECT_PATH: &str = "/api/v1/agent/connect";

/// What an agent does with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Runs this long, then succeeds.
    Succeed(Duration),
    /// Runs this long, then fails with an exit code.
    Fail(Duration),
    /// Starts, and ends with success when the crowd is released.
    Hold,
}

/// What all agents of a crowd share.
pub struct Shared {
    pub address: SocketAddr,
    pub counters: Counters,
    /// True once held commands may end.
    pub released: watch::Receiver<bool>,
    /// True once every agent must leave.
    pub leaving: watch::Receiver<bool>,
    /// How many heartbeats to send at once; every change is a new order.
    pub flood: watch::Receiver<u32>,
    /// Every change is a cable pulled: each agent loses its connection at once.
    pub cut: watch::Receiver<u32>,
    pub heartbeat: Duration,
}

/// Counts over a whole crowd.
#[derive(Debug, Default)]
pub struct Counters {
    pub connected: AtomicU64,
    pub welcomed: AtomicU64,
    pub started: AtomicU64,
    pub finished: AtomicU64,
    pub acknowledged: AtomicU64,
    /// Commands that came again, as a resend or after a reconnect.
    pub repeated: AtomicU64,
    pub running: AtomicI64,
    pub running_max: AtomicI64,
    pub connect_failures: AtomicU64,
    /// Pings answered: everything sent before them has been taken.
    pub pongs: AtomicU64,
}

/// An entry of the agent's journal.
#[derive(Clone, Debug)]
struct Entry {
    attempt: u32,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Started,
    Exited(Box<Outcome>),
    NotStarted(NotStartedReason),
    Acknowledged,
}

/// The fields of any server frame that an agent looks at; the operation is skipped over, not parsed.
#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(default)]
    command_id: Option<CommandId>,
    #[serde(default)]
    attempt: u32,
    #[serde(default)]
    kill: bool,
}

pub struct Agent {
    pub identity: Arc<Identity>,
    pub name: String,
    pub behaviour: Behaviour,
    shared: Arc<Shared>,
    journal_id: JournalId,
    /// By id, so that it is told in the same order each time.
    journal: BTreeMap<CommandId, Entry>,
    /// What runs now and when it ends; one at a time, like a real agent. The rest waits in order.
    running: Option<(CommandId, Option<tokio::time::Instant>)>,
    waiting: std::collections::VecDeque<CommandId>,
    /// Connections lost in a row without a welcome.
    failures: u32,
}

impl Agent {
    pub fn new(
        identity: Arc<Identity>,
        name: String,
        behaviour: Behaviour,
        shared: Arc<Shared>,
    ) -> Self {
        // Any id that stays the same will do; the host's own does.
        let journal_id = JournalId(identity.host_id.0);
        Self {
            identity,
            name,
            behaviour,
            shared,
            journal_id,
            journal: BTreeMap::new(),
            running: None,
            waiting: std::collections::VecDeque::new(),
            failures: 0,
        }
    }

    /// Lives until the crowd leaves.
    pub async fn live(mut self) {
        while !*self.shared.leaving.borrow() {
            if let Err(error) = self.connection().await {
                let failures = &self.shared.counters.connect_failures;
                if failures.fetch_add(1, Ordering::Relaxed) == 0 {
                    eprintln!("first lost connection of the crowd: {}: {error}", self.name);
                }
            }
            let mut leaving = self.shared.leaving.clone();
            tokio::select! {
                () = tokio::time::sleep(self.reconnect_pause()) => {}
                () = told(&mut leaving) => {}
            }
        }
    }

    fn reconnect_pause(&mut self) -> Duration {
        let longest = FIRST_PAUSE_MAX
            .saturating_mul(1 << self.failures.min(6))
            .min(PAUSE_MAX);
        self.failures += 1;
        let thousandths = uuid::Uuid::new_v4().as_u128() % 1_000;
        longest.mul_f64(thousandths as f64 / 1_000.0)
    }

    async fn connection(&mut self) -> Result<()> {
        let config = self.identity.client_config();
        let mut socket = Socket::connect(self.shared.address, config, CONNECT_PATH).await?;
        let counters = Arc::clone(&self.shared);
        counters.counters.connected.fetch_add(1, Ordering::Relaxed);
        let done = self.converse(&mut socket).await;
        counters.counters.connected.fetch_sub(1, Ordering::Relaxed);
        done
    }

    async fn converse(&mut self, socket: &mut Socket) -> Result<()> {
        queue(socket, &AgentFrame::Hello(Box::new(self.hello())));
        socket.flush().await?;
        let mut leaving = self.shared.leaving.clone();
        let mut released = self.shared.released.clone();
        let mut flood = self.shared.flood.clone();
        flood.mark_unchanged();
        let mut cut = self.shared.cut.clone();
        cut.mark_unchanged();
        // Spread over the interval by the host's id, as real agents are by chance.
        let spread = self.identity.host_id.0.as_u128() % 1_000;
        let first = self.shared.heartbeat.mul_f64(spread as f64 / 1_000.0);
        let mut heartbeat = tokio::time::interval_at(
            tokio::time::Instant::now() + first + Duration::from_millis(500),
            self.shared.heartbeat,
        );
        loop {
            let ends = self.running.and_then(|(_, ends)| ends);
            tokio::select! {
                message = socket.next() => match message? {
                    Message::Text(range) => self.take(socket, range)?,
                    Message::Ping(payload) => socket.queue_pong(&payload),
                    Message::Pong => {
                        self.shared.counters.pongs.fetch_add(1, Ordering::Relaxed);
                    }
                    Message::Closed(code, reason) => {
                        return Err(std::io::Error::other(format!("closed: {code} {reason}")));
                    }
                },
                () = until(ends), if ends.is_some() => self.finish(socket),
                Ok(()) = cut.changed() => return Err(std::io::Error::other("cut on purpose")),
                _ = released.changed(), if self.is_held() => {
                    if *released.borrow_and_update() {
                        self.finish(socket);
                    }
                }
                Ok(()) = flood.changed() => {
                    let count = *flood.borrow_and_update();
                    send_flood(socket, count).await?;
                }
                _ = heartbeat.tick() => queue(socket, &AgentFrame::Heartbeat(vitals())),
                () = told(&mut leaving) => {
                    socket.queue_close();
                    return socket.flush().await;
                }
            }
            socket.flush().await?;
        }
    }

    fn hello(&self) -> Hello {
        let journal = self.journal.iter().filter_map(|(id, entry)| {
            let state = match entry.state {
                State::Started => JournalState::Started,
                State::Exited(_) => JournalState::Exited,
                State::NotStarted(_) => JournalState::NotStarted,
                State::Acknowledged => return None,
            };
            Some(JournalEntry {
                command_id: *id,
                attempt: entry.attempt,
                state: state.into(),
            })
        });
        let waiting = self.waiting.iter().map(|id| JournalEntry {
            command_id: *id,
            attempt: 1,
            state: JournalState::Received.into(),
        });
        Hello {
            protocol: PROTOCOL_VERSION.to_owned(),
            journal_id: self.journal_id,
            boot_id: "simulated".to_owned(),
            machine_id: String::new(),
            session: None,
            facts: facts(&self.name),
            tags: Vec::new(),
            attributes: Default::default(),
            capabilities: Capabilities {
                operations: OperationType::ALL.map(Open::Known).to_vec(),
                concurrency: 1,
            },
            journal: journal.chain(waiting).collect(),
        }
    }

    fn take(&mut self, socket: &mut Socket, range: std::ops::Range<usize>) -> Result<()> {
        let frame: Incoming<'_> = serde_json::from_slice(socket.payload(range))?;
        let counters = &self.shared.counters;
        match (frame.kind, frame.command_id) {
            ("welcome", _) => {
                counters.welcomed.fetch_add(1, Ordering::Relaxed);
                self.failures = 0;
                self.say_again(socket);
            }
            ("command", Some(id)) => self.command(socket, id, frame.attempt),
            ("ack", Some(id)) => {
                if let Some(entry) = self.journal.get_mut(&id)
                    && !matches!(entry.state, State::Started)
                {
                    entry.state = State::Acknowledged;
                    counters.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            }
            ("cancel", Some(id)) => self.cancel(socket, id, frame.kill),
            _ => {}
        }
        Ok(())
    }

    fn command(&mut self, socket: &mut Socket, id: CommandId, attempt: u32) {
        let known = self.journal.get(&id);
        if known.is_some_and(|entry| entry.attempt >= attempt) || self.waiting.contains(&id) {
            // Answered from the journal, never run again.
            self.shared
                .counters
                .repeated
                .fetch_add(1, Ordering::Relaxed);
            if let Some(entry) = known.cloned() {
                say(socket, id, &entry);
            }
            return;
        }
        queue(
            socket,
            &AgentFrame::CommandReceived {
                command_id: id,
                attempt,
            },
        );
        self.journal.insert(
            id,
            Entry {
                attempt,
                state: State::NotStarted(NotStartedReason::AgentRestarted),
            },
        );
        self.waiting.push_back(id);
        self.start_next(socket);
    }

    fn start_next(&mut self, socket: &mut Socket) {
        if self.running.is_some() {
            return;
        }
        let Some(id) = self.waiting.pop_front() else {
            return;
        };
        let Some(entry) = self.journal.get_mut(&id) else {
            return;
        };
        entry.state = State::Started;
        let attempt = entry.attempt;
        queue(
            socket,
            &AgentFrame::CommandStarted {
                command_id: id,
                attempt,
            },
        );
        let counters = &self.shared.counters;
        counters.started.fetch_add(1, Ordering::Relaxed);
        let now_running = counters.running.fetch_add(1, Ordering::SeqCst) + 1;
        counters
            .running_max
            .fetch_max(now_running, Ordering::SeqCst);
        let now = tokio::time::Instant::now();
        let ends = match self.behaviour {
            Behaviour::Succeed(after) | Behaviour::Fail(after) => Some(now + after),
            Behaviour::Hold => None,
        };
        self.running = Some((id, ends));
        let at_once = match self.behaviour {
            Behaviour::Succeed(after) | Behaviour::Fail(after) => after.is_zero(),
            Behaviour::Hold => *self.shared.released.borrow(),
        };
        if at_once {
            self.finish(socket);
        }
    }

    fn is_held(&self) -> bool {
        matches!(self.running, Some((_, None)))
    }

    fn finish(&mut self, socket: &mut Socket) {
        let outcome = match self.behaviour {
            Behaviour::Succeed(_) | Behaviour::Hold => Outcome {
                exit_code: Some(0),
                stdout: printed(b"hi\n"),
                ..Outcome::succeeded(true)
            },
            Behaviour::Fail(_) => Outcome {
                exit_code: Some(3),
                ..Outcome::failed(FailureReason::ExitCode, "exit code 3")
            },
        };
        self.finish_with(socket, outcome);
    }

    fn finish_with(&mut self, socket: &mut Socket, outcome: Outcome) {
        let Some((id, _)) = self.running.take() else {
            return;
        };
        let counters = &self.shared.counters;
        counters.running.fetch_sub(1, Ordering::SeqCst);
        counters.finished.fetch_add(1, Ordering::Relaxed);
        if let Some(entry) = self.journal.get_mut(&id) {
            entry.state = State::Exited(Box::new(outcome));
            say(socket, id, entry);
        }
        self.start_next(socket);
    }

    fn cancel(&mut self, socket: &mut Socket, id: CommandId, kill: bool) {
        let waited = self.waiting.len();
        self.waiting.retain(|waiting| *waiting != id);
        if self.waiting.len() < waited {
            if let Some(entry) = self.journal.get_mut(&id) {
                entry.state = State::NotStarted(NotStartedReason::Cancelled);
                say(socket, id, entry);
            }
        } else if kill && self.running.is_some_and(|(running, _)| running == id) {
            let outcome = Outcome::failed(FailureReason::Cancelled, "killed");
            self.finish_with(socket, outcome);
        }
    }

    /// After a reconnect: everything the server has not acknowledged.
    fn say_again(&mut self, socket: &mut Socket) {
        for (id, entry) in &self.journal {
            if !self.waiting.contains(id) {
                say(socket, *id, entry);
            }
        }
    }
}

/// So many heartbeats, each a record of its own like a real one, and a ping behind them.
async fn send_flood(socket: &mut Socket, count: u32) -> Result<()> {
    for _ in 0..count {
        queue(socket, &AgentFrame::Heartbeat(vitals()));
        socket.flush().await?;
    }
    socket.queue_ping();
    socket.flush().await
}

fn say(socket: &mut Socket, command_id: CommandId, entry: &Entry) {
    let attempt = entry.attempt;
    let frame = match &entry.state {
        State::Started => AgentFrame::CommandStarted {
            command_id,
            attempt,
        },
        State::Exited(outcome) => AgentFrame::CommandFinished {
            command_id,
            attempt,
            outcome: outcome.clone(),
        },
        State::NotStarted(reason) => AgentFrame::CommandNotStarted {
            command_id,
            attempt,
            reason: (*reason).into(),
        },
        State::Acknowledged => return,
    };
    queue(socket, &frame);
}

fn queue(socket: &mut Socket, frame: &AgentFrame) {
    let text = serde_json::to_string(frame).expect("a frame is plain data");
    socket.queue_text(&text);
}

/// Returns once the switch is on (or gone with its crowd).
async fn told(switch: &mut watch::Receiver<bool>) {
    let _ = switch.wait_for(|on| *on).await;
}

async fn until(instant: Option<tokio::time::Instant>) {
    if let Some(instant) = instant {
        tokio::time::sleep_until(instant).await;
    }
}

fn printed(text: &[u8]) -> OutputSummary {
    use sha2::Digest as _;
    OutputSummary {
        total_bytes: text.len() as u64,
        sha256: hex::encode(sha2::Sha256::digest(text)),
        head: text.to_vec(),
        ..OutputSummary::default()
    }
}

pub fn vitals() -> Heartbeat {
    Heartbeat {
        memory_total_mb: Some(8_192),
        memory_available_mb: Some(4_096),
        cpu_count: Some(4),
        cpu_load_pct: Some(12.5),
        ..Heartbeat::default()
    }
}
