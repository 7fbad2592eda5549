//! The dispatcher without its task: driven step by step, so that what it does when there is nothing to do can be seen.

use std::sync::Arc;

use fleetwright_plugin_api::wire::{OfflinePolicy, SetCreate, SetView};

use fleetwright_protocol::ServerFrame;
use fleetwright_protocol::frame::{CommandFrame, JournalEntry, JournalState};
use futures_util::poll;

use super::send::{Payload, mark_sent_in};
use super::*;
use crate::audit::AuditContext;
use crate::clock::{ManualClock, Now};
use crate::commands::actions::host_deleted_in;
use crate::commands::create::create_in;
use crate::commands::decide::Silence;
use crate::commands::outputs::Spool;
use crate::commands::reports::{Greeting, settle_hello_in};
use crate::commands::store::reads::{self, Waiting};
use crate::commands::{CommandsParts, workers};
use crate::db::{Db, Statement};
use crate::events::Signals;
use crate::hosts::host::tests::host;
use crate::hosts::registry::HostRegistry;
use crate::hosts::store as hosts_store;
use crate::links::{Connection, Connections};
use crate::secrets::actions::NewSecret;
use crate::secrets::seal::{KEY_BYTES, SealKey};
use crate::secrets::{Secrets, SecretsParts};

const START_US: i64 = 1_700_000_000_000_000;
/// Far more steps than any of these tests has work for.
const STEPS_MAX: usize = 50;

struct Agent {
    connection: Arc<Connection>,
    inbox: mpsc::Receiver<String>,
}

impl Agent {
    fn heard(&mut self) -> Vec<ServerFrame> {
        std::iter::from_fn(|| self.inbox.try_recv().ok())
            .map(|text| serde_json::from_str(&text).unwrap())
            .collect()
    }

    /// The attempts of the commands it was sent.
    fn attempts(&mut self) -> Vec<u32> {
        let commands = self.heard().into_iter().filter_map(|frame| match frame {
            ServerFrame::Command(CommandFrame { attempt, .. }) => Some(attempt),
            _ => None,
        });
        commands.collect()
    }

    fn greeting(&self, journal: Vec<JournalEntry>) -> Greeting {
        Greeting {
            connection: self.connection.clone(),
            welcome: ServerFrame::Settings {
                heartbeat_seconds: 10,
            },
            concurrency: 1,
            journal,
            journal_changed: false,
            silence: Silence::NotStarted,
        }
    }
}

struct Bench {
    dispatcher: Dispatcher,
    hints: mpsc::UnboundedReceiver<Hint>,
    hosts: Vec<HostId>,
    clock: Arc<ManualClock>,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn with_hosts(count: i64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let db = Db::open(&format!("sqlite://{}", path.display()))
            .await
            .unwrap();
        db.migrate_core().await.unwrap();
        let hosts: Vec<_> = (1..=count).map(host).collect();
        let ids = hosts.iter().map(|host| host.id).collect();
        let stored = db.write(move |tx| {
            hosts
                .iter()
                .try_for_each(|host| hosts_store::insert_in(tx, host))
        });
        stored.await.unwrap();
        let clock = ManualClock::at(START_US);
        let registry = HostRegistry::load(&db, clock.clone()).await.unwrap();
        let secrets = Secrets::new(SecretsParts {
            db: db.clone(),
            clock: clock.clone(),
            key: SealKey::new(&[7; KEY_BYTES]).unwrap(),
            installation: "test".to_owned(),
        });
        let (commands, workers) = workers::prepare(CommandsParts {
            db,
            clock: clock.clone(),
            registry,
            connections: Connections::default(),
            signals: Signals::default(),
            spool: Spool::open(folder.path()).unwrap(),
            secrets,
        });
        Self {
            dispatcher: Dispatcher::new(commands),
            hints: workers.hints,
            hosts: ids,
            clock,
            folder,
        }
    }

    async fn create(&self, held: bool) -> SetView {
        self.create_of(serde_json::json!({"script": "true"}), held)
            .await
    }

    async fn create_of(&self, parameters: serde_json::Value, held: bool) -> SetView {
        let request = SetCreate {
            set_id: SetId(self.dispatcher.commands.new_id()),
            operation_type: "run_script".to_owned(),
            parameters,
            options: Default::default(),
            timeout_seconds: 60,
            expires_in_seconds: 600,
            max_concurrency: 0,
            offline: OfflinePolicy::Queue,
            held,
            on_behalf_of: None,
        };
        let commands = self.dispatcher.commands.clone();
        let hosts = self.hosts.clone();
        let created = self
            .dispatcher
            .commands
            .db()
            .write(move |tx| create_in(tx, &commands, &request, hosts, "test", "user:x"));
        created.await.unwrap()
    }

    fn dial(&self, host: HostId) -> Agent {
        let (connection, inbox) = self.dispatcher.commands.connections().register(host, 0);
        Agent { connection, inbox }
    }

    async fn settle(&self, agent: &Agent, journal: Vec<JournalEntry>) {
        let commands = self.dispatcher.commands.clone();
        let greeting = agent.greeting(journal);
        let settled = self
            .dispatcher
            .commands
            .db()
            .write(move |tx| settle_hello_in(tx, &commands, greeting));
        settled.await.unwrap();
    }

    async fn waiting(&self, set: SetId) -> Vec<Waiting> {
        let statement = reads::waiting_of_set(set, 0, 10);
        let rows = self.dispatcher.commands.db().read(statement).await.unwrap();
        let waiting = rows.iter().map(reads::waiting);
        waiting.collect::<Result<_, _>>().unwrap()
    }

    /// Takes what is hinted and steps until there is nothing left to do; returns how many steps that took.
    async fn run_until_idle(&mut self) -> usize {
        for steps in 0..STEPS_MAX {
            while let Ok(hint) = self.hints.try_recv() {
                self.dispatcher.take(hint);
            }
            if self.dispatcher.is_idle() {
                return steps;
            }
            self.dispatcher.step().await.unwrap();
        }
        panic!("the dispatcher is still busy after {STEPS_MAX} steps");
    }
}

#[tokio::test]
async fn an_open_set_of_which_nothing_waits_lets_the_dispatcher_rest() {
    let mut bench = Bench::with_hosts(2).await;
    bench.create(true).await;
    assert!(bench.run_until_idle().await <= 2, "all of it is held");
}

#[tokio::test]
async fn a_set_that_was_over_at_once_has_all_its_rows_after_a_restart() {
    let mut bench = Bench::with_hosts(0).await;
    let count = 2 * crate::commands::materialise::CHUNK + 1;
    // All deleted before the operation: nothing of it is left to do but the rows.
    bench.hosts = (0..count)
        .map(|_| HostId(bench.dispatcher.commands.new_id()))
        .collect();
    let set = bench.create(false).await;
    assert_eq!(set.skipped, count as u64);
    bench.dispatcher = Dispatcher::new(bench.dispatcher.commands.clone());
    while bench.hints.try_recv().is_ok() {}
    bench.dispatcher.find_open_sets().await.unwrap();
    bench.run_until_idle().await;
    let counted =
        Statement::new("SELECT COUNT(*) AS count FROM commands WHERE set_id = $1").bind(set.id);
    let rows = bench.dispatcher.commands.db().read(counted).await.unwrap();
    assert_eq!(rows.first().unwrap().count("count").unwrap(), count as u64);
}

#[tokio::test]
async fn a_set_whose_hosts_are_all_offline_is_walked_once() {
    let mut bench = Bench::with_hosts(2).await;
    bench.create(false).await;
    assert!(bench.run_until_idle().await <= 2);
}

#[tokio::test]
async fn a_host_that_cannot_start_anything_now_is_left_alone_for_its_pause() {
    let mut bench = Bench::with_hosts(2).await;
    let (tired, well) = (bench.hosts[0], bench.hosts[1]);
    let pause = Duration::from_secs(30);
    bench.create(false).await;
    let (mut first, mut second) = (bench.dial(tired), bench.dial(well));
    bench.dispatcher.take(Hint::HostLater(tired, 30_000_000));
    bench.settle(&first, Vec::new()).await;
    bench.settle(&second, Vec::new()).await;
    bench.run_until_idle().await;
    // Another command for it, and a look at the host, change nothing.
    bench.create(false).await;
    bench.clock.advance(pause - Duration::from_secs(1));
    bench.dispatcher.take(Hint::Host(tired));
    bench.run_until_idle().await;
    assert_eq!((first.attempts(), second.attempts()), (vec![], vec![1]));
    bench.clock.advance(Duration::from_secs(1));
    bench.dispatcher.wake_rested();
    bench.run_until_idle().await;
    assert_eq!(first.attempts(), [1]);
}

#[tokio::test]
async fn what_was_picked_for_a_replaced_connection_is_sent_once_through_the_new_one() {
    let mut bench = Bench::with_hosts(1).await;
    let set = bench.create(false).await;
    let host = bench.hosts[0];
    let mut old = bench.dial(host);
    bench.settle(&old, Vec::new()).await;
    let waiting = bench.waiting(set.id).await;
    let pick = bench.dispatcher.pick(waiting[0]).unwrap();
    // The new connection's hello is settled before the command is marked as sent.
    let mut new = bench.dial(host);
    bench.settle(&new, Vec::new()).await;
    bench.dispatcher.send(vec![pick]).await.unwrap();
    assert_eq!(
        bench.waiting(set.id).await.len(),
        1,
        "it was sent to nobody"
    );
    bench.run_until_idle().await;
    assert!(old.attempts().is_empty());
    assert_eq!(new.attempts(), [1]);
    assert!(new.connection.is_working_on(waiting[0].id, 1));
}

#[tokio::test]
async fn a_hello_settled_between_marking_and_writing_leaves_one_attempt_to_run() {
    let mut bench = Bench::with_hosts(1).await;
    let set = bench.create(false).await;
    let host = bench.hosts[0];
    let mut old = bench.dial(host);
    bench.settle(&old, Vec::new()).await;
    let waiting = bench.waiting(set.id).await;
    let pick = bench.dispatcher.pick(waiting[0]).unwrap();
    let picks = vec![pick.clone()];
    let db = bench.dispatcher.commands.db().clone();
    let marked = db
        .write(move |tx| mark_sent_in(tx, &picks, Now::both(START_US)))
        .await
        .unwrap();
    let mut new = bench.dial(host);
    bench.settle(&new, Vec::new()).await;
    let limits = marked[&waiting[0].id];
    let payload = Payload {
        operation: "{}".to_owned(),
        secrets: None,
    };
    bench.dispatcher.write(&pick, &payload, limits, START_US);
    bench.run_until_idle().await;
    assert!(old.attempts().is_empty());
    assert_eq!(
        new.attempts(),
        [2],
        "the first attempt never reached the agent"
    );
}

#[tokio::test]
async fn a_command_that_ends_in_the_commit_of_its_hosts_hello_leaves_the_host_free() {
    let mut bench = Bench::with_hosts(1).await;
    let set = bench.create(false).await;
    let host = bench.hosts[0];
    let old = bench.dial(host);
    bench.settle(&old, Vec::new()).await;
    let id = bench.waiting(set.id).await[0].id;
    bench.run_until_idle().await;
    let db = bench.dispatcher.commands.db().clone();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let mut holding = Box::pin(db.write(move |_| {
        wait.recv().unwrap();
        Ok::<_, DbError>(())
    }));
    assert!(poll!(holding.as_mut()).is_pending());
    let new = bench.dial(host);
    let journal = vec![JournalEntry {
        command_id: id,
        attempt: 1,
        state: JournalState::Started.into(),
    }];
    let mut settling = Box::pin(bench.settle(&new, journal));
    assert!(poll!(settling.as_mut()).is_pending());
    let commands = bench.dispatcher.commands.clone();
    let mut ending = Box::pin(db.write(move |tx| host_deleted_in(tx, &commands, host)));
    assert!(poll!(ending.as_mut()).is_pending());
    go.send(()).unwrap();
    holding.await.unwrap();
    settling.await;
    ending.await.unwrap();
    assert!(new.connection.is_open() && !new.connection.is_running(id));
}

#[tokio::test]
async fn a_set_is_forgotten_when_it_is_finished_however_that_came() {
    for expires in [false, true] {
        let mut bench = Bench::with_hosts(1).await;
        let set = bench.create(expires).await;
        bench.run_until_idle().await;
        assert!(bench.dispatcher.work.contains_key(&set.id));
        if expires {
            bench.clock.advance(Duration::from_secs(601));
            bench.dispatcher.take(Hint::Set(set.id));
        } else {
            // Never sent: no slot is freed.
            let (commands, host) = (bench.dispatcher.commands.clone(), bench.hosts[0]);
            let db = commands.db().clone();
            let deleted = db.write(move |tx| host_deleted_in(tx, &commands, host));
            deleted.await.unwrap();
        }
        bench.run_until_idle().await;
        assert!(bench.dispatcher.work.is_empty(), "expires: {expires}");
    }
}

async fn set_secret(secrets: &Secrets) {
    let new = NewSecret {
        name: "db".to_owned(),
        value: Some(b"correct horse".to_vec()),
        groups: None,
    };
    let by = AuditContext::system("test");
    crate::secrets::actions::set(secrets, by, new)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_waits_with_a_secret_of_another_key_waits_until_it_can_be_read() {
    for is_dialled_first in [true, false] {
        let mut bench = Bench::with_hosts(1).await;
        let commands = bench.dispatcher.commands.clone();
        let opened = crate::audit::open(commands.db(), bench.folder.path(), START_US);
        opened.await.unwrap();
        let other = Secrets::new(SecretsParts {
            db: commands.db().clone(),
            clock: bench.clock.clone(),
            key: SealKey::new(&[8; KEY_BYTES]).unwrap(),
            installation: "test".to_owned(),
        });
        set_secret(&other).await;
        let mut agent = bench.dial(bench.hosts[0]);
        if is_dialled_first {
            bench.settle(&agent, Vec::new()).await;
        }
        let parameters = serde_json::json!({"script": "true", "env": {"A": {"secret": "db"}}});
        let set = bench.create_of(parameters, false).await;
        bench.run_until_idle().await;
        bench.settle(&agent, Vec::new()).await;
        bench.run_until_idle().await;
        assert_eq!(bench.waiting(set.id).await.len(), 1);
        assert!(agent.attempts().is_empty());
        set_secret(commands.secrets()).await;
        bench.clock.advance(Duration::from_secs(60));
        bench.dispatcher.wake_rested();
        bench.run_until_idle().await;
        assert_eq!(agent.attempts(), [1]);
    }
}
