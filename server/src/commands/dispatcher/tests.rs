//! The dispatcher without its task: driven step by step, so that what it does when there is nothing to do can be seen.

use fleetwright_plugin_api::wire::{OfflinePolicy, SetCreate, SetView};

use super::*;
use crate::agents::connections::Connections;
use crate::clock::ManualClock;
use crate::commands::create::create_in;
use crate::commands::outputs::Spool;
use crate::db::Db;
use crate::events::Signals;
use crate::hosts::host::tests::host;
use crate::hosts::registry::HostRegistry;
use crate::hosts::store as hosts_store;

const START_US: i64 = 1_700_000_000_000_000;
/// Far more steps than any of these tests has work for.
const STEPS_MAX: usize = 50;

struct Bench {
    dispatcher: Dispatcher,
    hints: mpsc::UnboundedReceiver<Hint>,
    hosts: Vec<HostId>,
    _folder: tempfile::TempDir,
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
        let (commands, workers) = Commands::new(
            db,
            clock,
            registry,
            Connections::default(),
            Signals::default(),
            Spool::open(folder.path()).unwrap(),
        );
        Self {
            dispatcher: Dispatcher::new(commands),
            hints: workers.hints,
            hosts: ids,
            _folder: folder,
        }
    }

    async fn create(&self, held: bool) -> SetView {
        let request = SetCreate {
            set_id: SetId(self.dispatcher.commands.new_id()),
            operation_type: "run_script".to_owned(),
            parameters: serde_json::json!({"script": "true"}),
            options: Default::default(),
            timeout_seconds: 60,
            expires_in_seconds: 600,
            max_running: 0,
            offline: OfflinePolicy::Queue,
            held,
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
async fn a_set_whose_hosts_are_all_offline_is_walked_once() {
    let mut bench = Bench::with_hosts(2).await;
    bench.create(false).await;
    assert!(bench.run_until_idle().await <= 2);
}
