//! The simulated world's server: the real inventory, the real commands and their background work taken step by step, on
//! a real database. Dropping it is a crash: what is not committed is lost.

use std::path::Path;
use std::sync::{Arc, Mutex};

use fleetwright_plugin_api::wire::{SetControl, SetCreate, SetView};
use fleetwright_protocol::HostId;
use fleetwright_server::agents::conversation::ConnectionContext;
use fleetwright_server::audit::AuditContext;
use fleetwright_server::commands::actions::end_with_host;
use fleetwright_server::commands::create::SetError;
use fleetwright_server::commands::outputs::Spool;
use fleetwright_server::commands::workers::ByHand;
use fleetwright_server::commands::{Commands, control, create};
use fleetwright_server::commands::{CommandsParts, workers as work_of_commands};
use fleetwright_server::db::{Db, DbError, Statement};
use fleetwright_server::events::{Events, Signals};
use fleetwright_server::hosts::host::{
    Approval, Host, Identity, Issued, KeyDigest, Labels, Reported,
};
use fleetwright_server::hosts::{self, Hosts, HostsParts};
use fleetwright_server::links::Connections;
use fleetwright_server::secrets::seal::{KEY_BYTES, SealKey};
use fleetwright_server::secrets::{Secrets, SecretsParts};
use uuid::Uuid;

use super::clock::ServerClock;
use super::computer::START_MS;
use crate::seed::Choices;

pub struct Server {
    pub clock: Arc<ServerClock>,
    pub connections: Connections,
    pub context: ConnectionContext,
    pub work: ByHand,
}

impl Server {
    pub async fn start(db: &Db, spool: &Path, clock: Arc<ServerClock>) -> Self {
        let connections = Connections::default();
        let parts = HostsParts {
            clock: clock.clone(),
            db: db.clone(),
            signals: Signals::default(),
            events: Events::new(Uuid::nil()),
            connections: connections.clone(),
        };
        let hosts = Hosts::load(parts).await.expect("the inventory loads");
        let secrets = Secrets::new(SecretsParts {
            db: db.clone(),
            clock: clock.clone(),
            key: SealKey::new(&[7; KEY_BYTES]).expect("it is a key"),
            installation: "test".to_owned(),
        });
        let (commands, workers) = work_of_commands::prepare(CommandsParts {
            db: db.clone(),
            clock: clock.clone(),
            registry: hosts.registry().clone(),
            connections: connections.clone(),
            signals: Signals::default(),
            spool: Spool::open(spool).expect("the spool opens"),
            secrets,
        });
        let work = workers.by_hand().await.expect("the open sets are found");
        Self {
            clock,
            connections,
            context: ConnectionContext { commands, hosts },
            work,
        }
    }

    pub fn commands(&self) -> &Commands {
        &self.context.commands
    }

    pub async fn create(&self, request: SetCreate, hosts: Vec<HostId>) -> SetView {
        let commands = self.commands().clone();
        let created = self
            .commands()
            .db()
            .write(move |tx| create::create_in(tx, &commands, &request, hosts, "test", "user:x"));
        created.await.expect("the set is valid")
    }

    pub async fn control(&self, control: SetControl) -> Result<SetView, SetError> {
        let commands = self.commands().clone();
        self.commands()
            .db()
            .write(move |tx| control::control_in(tx, &commands, &control))
            .await
    }

    pub async fn delete_host(&self, id: HostId) {
        let context = AuditContext::system("test");
        let (hosts, commands) = (&self.context.hosts, self.commands());
        let deleted =
            hosts::deletion::delete_host(hosts, context, id, |_| true, end_with_host(commands))
                .await;
        deleted.expect("the host can be deleted");
    }

    pub async fn reject_host(&self, id: HostId) {
        let context = AuditContext::system("test");
        let rejected = hosts::actions::reject_host(&self.context.hosts, context, id).await;
        rejected.expect("the host can be rejected");
    }
}

/// Empties the database and stores the hosts of a new world, approved.
pub async fn populate(db: &Db, ids: Vec<HostId>) {
    let stored = db.write(move |tx| {
        for table in [
            "command_outputs",
            "commands",
            "command_set_contents",
            "command_sets",
            "host_tags",
            "hosts",
            "host_tombstones",
        ] {
            tx.execute(Statement::new(format!("DELETE FROM {table}")))?;
        }
        for (revision, id) in (1..).zip(ids) {
            hosts::store::insert_in(tx, &host(id, revision))?;
        }
        Ok::<_, DbError>(())
    });
    stored.await.expect("the database takes the hosts");
}

fn host(id: HostId, revision: i64) -> Host {
    Host {
        id,
        revision,
        approval: Approval::Approved,
        online: false,
        created_at_us: START_MS.cast_signed() * 1_000,
        last_seen_us: None,
        reported: Reported::default(),
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

/// Ids that follow from the seed, for all lives of the server.
pub fn ids(seed: u64) -> Arc<Mutex<Choices>> {
    Arc::new(Mutex::new(Choices::new(seed)))
}
