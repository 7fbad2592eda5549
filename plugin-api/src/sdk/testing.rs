//! `TestServer`: a server in memory for a module's own tests. Clock, sets, hosts, signals, features and other modules are
//! fakes a test drives; the database is plugged in, because an SDK that carried one would put a second copy of SQLite
//! into every module. `fleetwright-server` (as a dev-dependency) gives real SQLite and PostgreSQL behind [`SqlBackend`].

mod client;
pub mod declaration;
mod fakes;
mod state;

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use abi_stable::sabi_trait::TD_Opaque;
use fleetwright_protocol::HostId;

use super::server::Services;
use super::{
    CAPACITY_SIGNAL, CallContext, CallError, HostRecord, Module, ModuleError, NodeCapacity,
    Payload, Server,
};
use crate::abi::{
    CallApi_TO, CapacityApi_TO, ClockApi_TO, DbApi_TO, FeaturesApi_TO, HostsApi_TO, IdentityApi_TO,
    LogApi_TO, SetsApi_TO, SignalsApi_TO,
};
use crate::wire::Environment;
use state::Shared;

pub use client::{TestClient, TestResponse, operator};
pub use state::{SqlBackend, TestState};

/// A fake server. Cheap to clone; clones share their state.
#[derive(Clone)]
pub struct TestServer {
    shared: Arc<Shared>,
}

impl TestServer {
    /// A server whose database is `sql`; without one, every read and SQL write fails.
    pub fn new(sql: Option<Arc<dyn SqlBackend>>) -> Self {
        Self {
            shared: Arc::new(Shared::new(sql)),
        }
    }

    /// The handle a module gets.
    pub fn server(&self, module: &str) -> Server {
        let fake = || fakes::Fake(Arc::clone(&self.shared));
        Server::new(
            module,
            Services {
                environment: Environment {
                    module_api: crate::MODULE_API_VERSION.to_owned(),
                    settings: self.state().settings.clone(),
                },
                log: Arc::new(LogApi_TO::from_value(fake(), TD_Opaque)),
                clock: ClockApi_TO::from_value(fake(), TD_Opaque),
                db: DbApi_TO::from_value(fake(), TD_Opaque),
                sets: SetsApi_TO::from_value(fake(), TD_Opaque),
                hosts: HostsApi_TO::from_value(fake(), TD_Opaque),
                signals: SignalsApi_TO::from_value(fake(), TD_Opaque),
                call: CallApi_TO::from_value(fake(), TD_Opaque),
                features: FeaturesApi_TO::from_value(fake(), TD_Opaque),
                identity: IdentityApi_TO::from_value(fake(), TD_Opaque),
                capacity: Ok(CapacityApi_TO::from_value(fake(), TD_Opaque)),
            },
        )
    }

    /// Starts a module as the server would (its migrations are the caller's to run on its database).
    pub async fn start<M: Module>(&self, name: &str) -> Result<(M, TestClient), ModuleError> {
        let (module, router) = M::start(self.server(name)).await?;
        Ok((
            module,
            TestClient {
                router,
                context: operator(),
            },
        ))
    }

    /// What the fakes hold, to look at or change. Give the guard back before the module goes on: it takes the same
    /// lock.
    pub fn state(&self) -> MutexGuard<'_, TestState> {
        self.shared.state()
    }

    /// Turns both clocks; nobody is woken by it.
    pub fn advance(&self, by: std::time::Duration) {
        self.state().now_us += i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    }

    /// Adds or changes a host; gives it the next revision and wakes `hosts` waiters.
    pub fn put_host(&self, mut record: HostRecord) {
        {
            let mut state = self.state();
            state.hosts_revision += 1;
            record.revision = state.hosts_revision;
            state.deleted_hosts.remove(&record.id);
            state.hosts.insert(record.id, record);
        }
        self.publish("hosts");
    }

    /// Takes a host out; wakes `hosts` waiters.
    pub fn delete_host(&self, id: HostId) {
        {
            let mut state = self.state();
            state.hosts_revision += 1;
            let revision = state.hosts_revision;
            state.hosts.remove(&id);
            state.deleted_hosts.insert(id, revision);
        }
        self.publish("hosts");
    }

    /// A heartbeat of a host arrives now: what it says takes the place of what was said before, and `capacity` waiters wake. Id and
    /// time of arrival are set here.
    pub fn put_capacity(&self, host_id: HostId, capacity: NodeCapacity) {
        {
            let mut state = self.state();
            state.capacity_sequence += 1;
            let arrived = NodeCapacity {
                host_id,
                seen_us: state.now_us,
                ..capacity
            };
            let sequence = state.capacity_sequence;
            state.capacity.insert(host_id, (sequence, arrived));
        }
        self.publish(CAPACITY_SIGNAL);
    }

    /// What a module started after this is told as a setting.
    pub fn set_setting(&self, name: &str, value: serde_json::Value) {
        self.state().settings.insert(name.to_owned(), value);
    }

    /// Answers another module's method.
    pub fn on_invoke(
        &self,
        module: &str,
        method: &str,
        answer: impl Fn(CallContext, Payload) -> Result<Payload, CallError> + Send + Sync + 'static,
    ) {
        let mut methods = self
            .shared
            .methods
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        methods.insert((module.to_owned(), method.to_owned()), Box::new(answer));
    }

    /// Wakes waiters of every key: hints may always be more than needed.
    pub fn publish(&self, key: &str) {
        self.state().signals.push(key.to_owned());
        self.shared
            .generation
            .send_modify(|generation| *generation += 1);
    }
}

/// A host record with just an id, approved and online; a test fills in what it needs.
pub fn host_record(id: HostId) -> HostRecord {
    HostRecord {
        id,
        revision: 0,
        approval_status: "approved".to_owned(),
        status: "online".to_owned(),
        reserved: false,
        created_at_us: 0,
        fqdn: None,
        hostname: None,
        platform: None,
        platform_release: None,
        platform_version: None,
        architecture: None,
        agent_version: None,
        cpu_count: None,
        memory_total_mb: None,
        kvm_available: None,
        ipv4: Vec::new(),
        ipv6: Vec::new(),
        tags: Vec::new(),
        attributes: BTreeMap::new(),
        agent_tags: Vec::new(),
        agent_attributes: BTreeMap::new(),
    }
}

/// What a heartbeat of a machine with nothing on it says; a test fills in what it needs.
pub fn node_capacity(memory_mb: u64, cpu_count: u32) -> NodeCapacity {
    NodeCapacity {
        host_id: HostId::from(uuid::Uuid::nil()),
        seen_us: 0,
        boot_id: Some("boot".to_owned()),
        memory_total_mb: Some(memory_mb),
        memory_available_mb: Some(memory_mb),
        cpu_count: Some(cpu_count),
        cpu_load_pct: Some(0.0),
        kvm_available: Some(true),
        vms: Some(Vec::new()),
    }
}

/// Compares a generated document with the committed file; with `UPDATE_OPENAPI=1` writes it.
pub fn check_document(path: &std::path::Path, generated: &str) -> Result<(), String> {
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        return std::fs::write(path, generated).map_err(|error| error.to_string());
    }
    let committed =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if committed == generated {
        return Ok(());
    }
    Err(format!(
        "{} is out of date: run its test with UPDATE_OPENAPI=1",
        path.display()
    ))
}
