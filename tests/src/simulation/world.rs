//! The simulated world: one server, a few machines with agents, the network between them, one queue of events in the
//! order of their times. Every choice comes from one seed. What happens is in `network`, `agents`, `strikes`
//! and `operator`; this is the clock they share.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};

use fleetwright_agent::core::{Core, Input};
use fleetwright_agent::run::RunEvent;
use fleetwright_agent::supervisor::exit_record::Ending;
use fleetwright_protocol::HostId;
use fleetwright_server::db::Db;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::clock::ServerClock;
use super::computer::{Computer, RunKey};
use super::faults::Fault;
use super::ledger::{Broken, Ledger, broken};
use super::links::{Link, LinkId};
use super::server::{self, Server};
use crate::seed::Choices;

pub const SECOND_US: i64 = 1_000_000;
/// Far more than any seed needs; one that goes on is a loop.
const EVENTS_MAX: u64 = 200_000;
/// What has been sent late may still come after the last row is terminal.
const AFTERMATH_US: i64 = 60 * SECOND_US;

/// What happens at some time.
#[derive(Debug)]
pub enum Event {
    Dispatch,
    Reports,
    Sweep,
    ServerStart,
    /// The next frame of a link arrives at the server.
    Up(LinkId),
    /// The next frame of a link arrives at the agent.
    Down(LinkId),
    AgentNotices(LinkId),
    ServerNotices(LinkId),
    Connect(usize),
    Turn(usize),
    /// Of the agent's life of this number.
    Tick(usize, u64),
    AgentStart(usize),
    /// A supervisor is there.
    Launch(usize, RunKey, u64),
    /// A supervisor hears that it may go.
    Begin(usize, RunKey, u64),
    /// A run inside the agent changes something.
    Change(usize, RunKey, u64),
    End(usize, RunKey, u64, Ending),
    GiveUp(usize, RunKey, u64),
    ClearUp(usize, RunKey),
    /// A message of a run's task comes to the agent's core.
    Tell(usize, u64, RunEvent),
    Fault(Fault),
    Operate,
    /// Faults stop.
    Heal,
}

/// A machine and the agent on it.
pub struct Host {
    pub id: HostId,
    pub computer: Computer,
    pub agent: Option<Agent>,
    /// How often an agent has begun here.
    pub lives: u64,
    pub concurrency: u32,
    pub stalled_until_us: i64,
    pub cut_off_until_us: i64,
    /// It never comes back.
    pub is_gone: bool,
    /// It is no longer in the inventory, or not let in.
    pub is_out: bool,
}

pub struct Agent {
    pub core: Core,
    pub life: u64,
    pub mail: VecDeque<Mail>,
    pub has_turn: bool,
    /// Until when what has come in this life may start, by the world's clock.
    pub lease_ends_us: BTreeMap<RunKey, i64>,
    /// The next write that is cut short ends the machine too.
    pub strike_is_power_cut: bool,
}

pub enum Mail {
    Input(Input),
    /// With where its frames go.
    Connected(Input, mpsc::Sender<fleetwright_protocol::AgentFrame>),
    Run(RunEvent),
}

/// What one seed came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub events: u64,
    pub simulated_seconds: i64,
    pub commands: usize,
    pub starts: usize,
    pub attempts: u64,
    /// How the commands ended: status and reason.
    pub ends: BTreeMap<String, u64>,
    pub faults: u64,
    /// Equal when everything that happened was equal.
    pub digest: u64,
}

pub struct World<'a> {
    pub db: &'a Db,
    pub spool: &'a Path,
    pub choices: Choices,
    pub ids: Arc<Mutex<Choices>>,
    pub now_us: i64,
    pub queue: BTreeMap<(i64, u64), Event>,
    sequence: u64,
    pub server: Option<Server>,
    /// By how much the server's wall clock was set.
    pub wall_set_by_us: Arc<AtomicI64>,
    pub hosts: Vec<Host>,
    pub links: BTreeMap<LinkId, Link>,
    pub ledger: Ledger,
    pub trace: Vec<String>,
    pub summary: Summary,
    pub has_dispatch: bool,
    pub has_reports: bool,
    pub is_healed: bool,
    pub healed_us: i64,
    pub operations_left: u64,
    /// How slow the network is at most (µs).
    pub delay_us_max: u64,
}

impl<'a> World<'a> {
    pub async fn new(db: &'a Db, spool: &'a Path, seed: u64) -> Self {
        let mut choices = Choices::new(seed);
        let ids = server::ids(choices.draw());
        let count = 1 + choices.below(4) as u128;
        let hosts: Vec<Host> = (1..=count)
            .map(|number| Host {
                id: HostId(Uuid::from_u128(number)),
                computer: Computer::new(choices.draw()),
                agent: None,
                lives: 0,
                concurrency: 1 + choices.below(2) as u32,
                stalled_until_us: 0,
                cut_off_until_us: 0,
                is_gone: false,
                is_out: false,
            })
            .collect();
        server::populate(db, hosts.iter().map(|host| host.id).collect()).await;
        let delay_us_max = [5_000, 50_000, 3_000_000, 20_000_000][choices.below(4) as usize];
        let mut world = Self {
            db,
            spool,
            choices,
            ids,
            now_us: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            server: None,
            wall_set_by_us: Arc::default(),
            hosts,
            links: BTreeMap::new(),
            ledger: Ledger::default(),
            trace: Vec::new(),
            summary: Summary::default(),
            has_dispatch: false,
            has_reports: false,
            is_healed: false,
            healed_us: 0,
            operations_left: 0,
            delay_us_max,
        };
        world.plan();
        world
    }

    /// Everything that is known beforehand: starts, faults, operations.
    fn plan(&mut self) {
        self.after(0, Event::ServerStart);
        for host in 0..self.hosts.len() {
            let at = self.choices.below(5_000_000) as i64;
            self.after(at, Event::AgentStart(host));
        }
        let chaos_us = 60 * SECOND_US + self.choices.below(240_000_000) as i64;
        let faults = self.choices.below(14);
        for _ in 0..faults {
            let at = self.choices.below(chaos_us.cast_unsigned()) as i64;
            let fault = Fault::any(&mut self.choices, self.hosts.len());
            self.after(at, Event::Fault(fault));
        }
        self.operations_left = 2 + self.choices.below(14);
        self.after(SECOND_US, Event::Operate);
        self.after(chaos_us, Event::Heal);
        self.after(SECOND_US, Event::Sweep);
    }

    /// Runs to the end. An error is a broken promise.
    pub async fn run(&mut self) -> Result<(), Broken> {
        let mut over_at_us = None;
        while let Some(((at_us, _), event)) = self.queue.pop_first() {
            self.summary.events += 1;
            if self.summary.events > EVENTS_MAX {
                return broken("it does not come to an end".to_owned());
            }
            self.now_us = at_us;
            if let Some(server) = &self.server {
                server.clock.set(at_us);
            }
            for host in &self.hosts {
                host.computer.inside().now_us = at_us;
            }
            self.happen(event).await?;
            if !self.is_healed || self.operations_left > 0 {
                continue;
            }
            if self.ledger.all_over() {
                let over_at_us = *over_at_us.get_or_insert(self.now_us);
                if self.now_us > over_at_us + AFTERMATH_US {
                    break;
                }
            } else if self.server.is_some()
                && self.lease_us() > self.ledger.last_due_us() + 60 * SECOND_US
            {
                return self.not_over();
            }
        }
        self.ledger.look(self.db).await?;
        self.check_end()
    }

    async fn happen(&mut self, event: Event) -> Result<(), Broken> {
        match event {
            Event::Dispatch => self.dispatch().await,
            Event::Reports => self.store_reports().await,
            Event::Sweep => self.sweep().await,
            Event::ServerStart => self.start_server().await,
            Event::Up(link) => self.arrive_at_server(link).await,
            Event::Down(link) => {
                self.arrive_at_agent(link);
                Ok(())
            }
            Event::AgentNotices(link) => {
                self.agent_notices(link);
                Ok(())
            }
            Event::ServerNotices(link) => self.server_notices(link).await,
            Event::Connect(host) => self.connect(host).await,
            Event::Turn(host) => self.turn(host).await,
            Event::Tick(host, life) => self.tick(host, life).await,
            Event::AgentStart(host) => self.start_agent(host).await,
            Event::Launch(host, key, serial) => {
                self.launch(host, key, serial);
                Ok(())
            }
            Event::Begin(host, key, serial) => self.begin(host, key, serial),
            Event::Change(host, key, serial) => self.change(host, key, serial),
            Event::End(host, key, serial, ending) => {
                self.end(host, key, serial, ending);
                Ok(())
            }
            Event::GiveUp(host, key, life) => {
                self.give_up(host, key, life);
                Ok(())
            }
            Event::ClearUp(host, key) => {
                self.clear_up(host, key);
                Ok(())
            }
            Event::Tell(host, life, event) => {
                self.tell(host, life, event);
                Ok(())
            }
            Event::Fault(fault) => self.strike(fault).await,
            Event::Operate => self.operate().await,
            Event::Heal => self.heal().await,
        }
    }

    /// Looks at all rows after the server has done something.
    pub async fn look(&mut self) -> Result<(), Broken> {
        for change in self.ledger.look(self.db).await? {
            self.note(|| change);
        }
        Ok(())
    }

    pub fn after(&mut self, delay_us: i64, event: Event) {
        self.sequence += 1;
        self.queue
            .insert((self.now_us + delay_us, self.sequence), event);
    }

    /// A delay of up to `max_us`.
    pub fn soon(&mut self, max_us: u64, event: Event) {
        let delay_us = self.choices.below(max_us) as i64;
        self.after(delay_us, event);
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        let line = format!("{:>11.6} {}", self.now_us as f64 / 1e6, line());
        for byte in line.bytes() {
            // FNV-1a: any change of the story changes it.
            self.summary.digest =
                (self.summary.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.trace.push(line);
    }

    /// The server's lease clock.
    pub fn lease_us(&self) -> i64 {
        super::computer::START_MS.cast_signed() * 1_000 + self.now_us
    }

    pub fn clock(&self) -> Arc<ServerClock> {
        let wall = Arc::clone(&self.wall_set_by_us);
        ServerClock::new(self.now_us, wall, Arc::clone(&self.ids))
    }

    fn not_over(&mut self) -> Result<(), Broken> {
        let open: Vec<String> = self
            .ledger
            .rows
            .clone()
            .iter()
            .filter(|(_, row)| !row.status.is_terminal())
            .map(|(id, row)| format!("{}: {row:?}", self.ledger.name(*id)))
            .collect();
        broken(format!("past every deadline, still open (I3): {open:?}"))
    }

    fn check_end(&mut self) -> Result<(), Broken> {
        self.summary.simulated_seconds = self.now_us / SECOND_US;
        self.summary.commands = self.ledger.rows.len();
        self.summary.starts = self.ledger.starts.len();
        for (id, row) in self.ledger.rows.clone() {
            if !row.status.is_terminal() {
                return self.not_over();
            }
            self.summary.attempts += u64::from(row.attempt);
            let end = format!("{:?} {}", row.status, row.reason.as_deref().unwrap_or(""));
            *self.summary.ends.entry(end.trim().to_owned()).or_default() += 1;
            // What waited for a host that was there, and for nothing else, must have been sent to it.
            let set = &self.ledger.sets[&row.set_id];
            let host = self.hosts.iter().find(|host| host.id == row.host_id);
            let patient = set.expires_at_us > self.healed_lease_us() + 900 * SECOND_US;
            let there = host.is_some_and(|host| !host.is_gone && !host.is_out);
            if row.reason.as_deref() == Some("expired") && patient && there {
                let name = self.ledger.name(id);
                return broken(format!("{name} expired though its host was there for long"));
            }
        }
        for set in self.ledger.sets.values() {
            if set.in_flight != 0 || !set.finished {
                return broken(format!("a set is not finished at the end: {set:?}"));
            }
        }
        Ok(())
    }

    fn healed_lease_us(&self) -> i64 {
        super::computer::START_MS.cast_signed() * 1_000 + self.healed_us
    }
}
