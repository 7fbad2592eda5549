//! A server's delivery part without its sockets: real database, real dispatcher, and agents that are only the other
//! end of a connection's queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fleetwright_plugin_api::wire::{
    CommandQuery, CommandStatus, OfflinePolicy, SetAction, SetControl, SetCreate, SetView,
};
use fleetwright_protocol::frame::{CommandFrame, JournalEntry};
use fleetwright_protocol::{CommandId, Facts, HostId, Outcome, ServerFrame, SetId};
use fleetwright_server::clock::ManualClock;
use fleetwright_server::commands::create::SetError;
use fleetwright_server::commands::outputs::Spool;
use fleetwright_server::commands::report::{AgentReport, Said};
use fleetwright_server::commands::reports::{Greeting, settle_hello_in};
use fleetwright_server::commands::store::StoredOutput;
use fleetwright_server::commands::{Commands, control, create};
use fleetwright_server::commands::{CommandsParts, workers as work_of_commands};
use fleetwright_server::db::{Db, DbError};
use fleetwright_server::events::Signals;
use fleetwright_server::hosts::host::{
    Approval, Host, Identity, Issued, KeyDigest, Labels, Reported,
};
use fleetwright_server::hosts::registry::HostRegistry;
use fleetwright_server::hosts::store as hosts_store;
use fleetwright_server::links::{Connection, Connections, Cut};
use fleetwright_server::loops::Loops;
use fleetwright_server::secrets::seal::{KEY_BYTES, SealKey};
use fleetwright_server::secrets::{Secrets, SecretsParts};
use tokio::sync::mpsc::Receiver;
use uuid::Uuid;

pub const START_US: i64 = 1_700_000_000_000_000;
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn host_id(number: u128) -> HostId {
    HostId(Uuid::from_u128(number))
}

/// A page of a set's rows, whatever their status.
pub fn of_set(set_id: SetId, cursor: u64, limit: u32) -> CommandQuery {
    CommandQuery {
        set_id,
        status: None,
        hosts: Vec::new(),
        cursor,
        limit,
    }
}

pub fn hosts(range: std::ops::RangeInclusive<u128>) -> Vec<HostId> {
    range.map(host_id).collect()
}

fn host(number: u128, approval: Approval) -> Host {
    Host {
        id: host_id(number),
        revision: i64::try_from(number).unwrap(),
        approval,
        online: false,
        created_at_us: START_US,
        last_seen_us: None,
        reported: Reported {
            facts: Facts {
                fqdn: Some(format!("h{number}.test")),
                ..Facts::default()
            },
            ..Reported::default()
        },
        labels: Labels::default(),
        identity: Identity {
            current: Issued {
                generation: 1,
                key: KeyDigest([7; 32]),
            },
            next: None,
            locked_reason: None,
        },
        journal_id: None,
        enrolled_with: None,
    }
}

/// Approved hosts 1 to `approved`, then pending ones.
pub async fn seed(db: &Db, approved: u128, pending: u128) {
    db.write(move |tx| -> Result<(), DbError> {
        for number in 1..=approved {
            hosts_store::insert_in(tx, &host(number, Approval::Approved))?;
        }
        for number in approved + 1..=approved + pending {
            hosts_store::insert_in(tx, &host(number, Approval::Pending))?;
        }
        Ok(())
    })
    .await
    .unwrap();
}

/// Making another one on the same database is a restart.
pub struct Station {
    pub commands: Commands,
    pub clock: Arc<ManualClock>,
    connections: Connections,
    _spool: tempfile::TempDir,
}

impl Station {
    pub async fn start(db: &Db, clock: Arc<ManualClock>) -> Self {
        let spool = tempfile::tempdir().unwrap();
        let connections = Connections::default();
        let registry = HostRegistry::load(db, clock.clone()).await.unwrap();
        let secrets = Secrets::new(SecretsParts {
            db: db.clone(),
            clock: clock.clone(),
            key: SealKey::new(&[7; KEY_BYTES]).expect("it is a key"),
            installation: "test".to_owned(),
        });
        let (commands, workers) = work_of_commands::prepare(CommandsParts {
            db: db.clone(),
            clock: clock.clone(),
            registry,
            connections: connections.clone(),
            signals: Signals::default(),
            spool: Spool::open(spool.path()).unwrap(),
            secrets,
        });
        workers.start(&Loops::new(clock.clone()));
        Self {
            commands,
            connections,
            clock,
            _spool: spool,
        }
    }

    /// Connects a host whose journal holds these entries.
    pub async fn connect(&self, number: u128, journal: Vec<JournalEntry>, new_disk: bool) -> Agent {
        let mut agent = self.dial(number);
        self.settle(&agent, journal, new_disk).await;
        agent.welcome().await;
        agent
    }

    /// A connection whose `hello` is still to come.
    pub fn dial(&self, number: u128) -> Agent {
        let host = host_id(number);
        let (connection, inbox) = self.connections.register(host, 0);
        Agent {
            host,
            inbox,
            connection,
        }
    }

    pub async fn settle(&self, agent: &Agent, journal: Vec<JournalEntry>, new_disk: bool) {
        let commands = self.commands.clone();
        let greeting = agent.greeting(journal, new_disk);
        let settled = self
            .commands
            .db()
            .write(move |tx| settle_hello_in(tx, &commands, greeting));
        settled.await.unwrap();
    }

    fn request(&self, max_concurrency: u64) -> SetCreate {
        SetCreate {
            set_id: SetId(self.commands.new_id()),
            operation_type: "run_script".to_owned(),
            parameters: serde_json::json!({"script": "true"}),
            options: Default::default(),
            timeout_seconds: 60,
            expires_in_seconds: 600,
            max_concurrency,
            offline: OfflinePolicy::Queue,
            held: false,
            on_behalf_of: None,
        }
    }

    pub async fn create(&self, hosts: Vec<HostId>, max_concurrency: u64) -> SetView {
        let request = self.request(max_concurrency);
        let commands = self.commands.clone();
        let created = self
            .commands
            .db()
            .write(move |tx| create::create_in(tx, &commands, &request, hosts, "test", "user:x"));
        created.await.unwrap()
    }

    /// A set of which nothing is sent before it is released.
    pub async fn create_held(&self, hosts: Vec<HostId>) -> SetView {
        let request = SetCreate {
            held: true,
            ..self.request(0)
        };
        let commands = self.commands.clone();
        let created = self
            .commands
            .db()
            .write(move |tx| create::create_in(tx, &commands, &request, hosts, "test", "user:x"));
        created.await.unwrap()
    }

    /// One operation of another type for one host.
    pub async fn create_operation(&self, host: HostId, operation_type: &str) -> SetView {
        let request = SetCreate {
            operation_type: operation_type.to_owned(),
            parameters: serde_json::json!({}),
            ..self.request(0)
        };
        let commands = self.commands.clone();
        let created = self.commands.db().write(move |tx| {
            create::create_in(tx, &commands, &request, vec![host], "test", "user:x")
        });
        created.await.unwrap()
    }

    /// Both in one transaction, so that a large set has no rows yet when it is controlled.
    pub async fn create_and_control(
        &self,
        hosts: Vec<HostId>,
        action: SetAction,
    ) -> (SetView, Result<SetView, SetError>) {
        let request = self.request(0);
        let commands = self.commands.clone();
        let both = self.commands.db().write(move |tx| {
            let set = create::create_in(tx, &commands, &request, hosts, "test", "user:x")?;
            let control = SetControl {
                set_id: set.id,
                action,
                expect_generation: None,
            };
            let controlled = control::control_in(tx, &commands, &control);
            Ok::<_, SetError>((set, controlled))
        });
        both.await.unwrap()
    }

    pub async fn control(&self, set: SetId, action: SetAction) -> Result<SetView, SetError> {
        let commands = self.commands.clone();
        let control = SetControl {
            set_id: set,
            action,
            expect_generation: None,
        };
        self.commands
            .db()
            .write(move |tx| control::control_in(tx, &commands, &control))
            .await
    }

    pub async fn set(&self, id: SetId) -> SetView {
        self.commands.get_sets(&[id]).await.unwrap().remove(0)
    }

    /// Waits until the set looks as wanted; fails with what it looked like last.
    pub async fn until(&self, id: SetId, what: &str, holds: impl Fn(&SetView) -> bool) -> SetView {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let set = self.set(id).await;
            let sum =
                set.held + set.queued + set.running + set.succeeded + set.failed + set.skipped;
            assert_eq!(sum, set.total, "counters sum to the total at every moment");
            if holds(&set) {
                return set;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "waited for {what}: {set:?}"
            );
            tokio::task::yield_now().await;
        }
    }

    pub async fn finish(&self, agent: &Agent, frame: &CommandFrame, outcome: Outcome) {
        let said = Said::Finished(Box::new((outcome, StoredOutput::default())));
        self.say(agent, frame, said).await;
    }

    pub async fn say(&self, agent: &Agent, frame: &CommandFrame, said: Said) {
        self.commands.report(agent.report(frame, said)).await;
    }

    pub async fn rows(&self, set: SetId) -> BTreeMap<HostId, (CommandStatus, Option<String>)> {
        let page = self.commands.page(&of_set(set, 0, 500)).await.unwrap();
        page.items
            .into_iter()
            .map(|row| (row.host_id, (row.status, row.reason)))
            .collect()
    }

    pub async fn reason(&self, set: SetId, number: u128) -> Option<String> {
        self.rows(set).await[&host_id(number)].1.clone()
    }
}

pub struct Agent {
    pub host: HostId,
    pub inbox: Receiver<String>,
    pub connection: Arc<Connection>,
}

impl Agent {
    pub async fn frame(&mut self) -> ServerFrame {
        let message = tokio::time::timeout(PATIENCE, self.inbox.recv()).await;
        match message.expect("a frame comes in time") {
            Some(text) => serde_json::from_str(&text).unwrap(),
            None => panic!("expected a frame, not the end"),
        }
    }

    pub fn report(&self, frame: &CommandFrame, said: Said) -> AgentReport {
        AgentReport {
            host_id: self.host,
            command_id: frame.command_id,
            attempt: frame.attempt,
            said,
            room: None,
        }
    }

    pub fn greeting(&self, journal: Vec<JournalEntry>, journal_changed: bool) -> Greeting {
        Greeting {
            connection: self.connection.clone(),
            welcome: ServerFrame::Welcome {
                protocol: "1.0".to_owned(),
                server_version: String::new(),
                host_id: self.host,
                heartbeat_seconds: 10,
            },
            concurrency: 1,
            journal,
            journal_changed,
        }
    }

    pub async fn welcome(&mut self) {
        let frame = self.frame().await;
        assert!(matches!(frame, ServerFrame::Welcome { .. }), "{frame:?}");
    }

    pub async fn cut(&self) -> Cut {
        let cut = tokio::time::timeout(PATIENCE, self.connection.until_cut()).await;
        cut.expect("it is cut in time")
    }

    pub async fn command(&mut self) -> CommandFrame {
        match self.frame().await {
            ServerFrame::Command(frame) => frame,
            other => panic!("expected a command, got {other:?}"),
        }
    }

    pub async fn ack(&mut self) -> CommandId {
        match self.frame().await {
            ServerFrame::Ack { command_id, .. } => command_id,
            other => panic!("expected an ack, got {other:?}"),
        }
    }

    pub fn has_nothing(&mut self) -> bool {
        self.inbox.try_recv().is_err()
    }
}

/// Takes the first of these agents that is sent a command out of the list, whichever it is.
pub async fn first_command(agents: &mut Vec<Agent>) -> (Agent, CommandFrame) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        for index in 0..agents.len() {
            if !agents[index].inbox.is_empty() {
                let mut agent = agents.remove(index);
                let frame = agent.command().await;
                return (agent, frame);
            }
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "no agent was sent a command"
        );
        tokio::task::yield_now().await;
    }
}
