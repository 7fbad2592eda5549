//! What a test server holds: the fakes answer from it, and a test reads and changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fleetwright_protocol::{CommandId, HostId, SetId};
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::abi::{AbiStatement, AbiTable, Op};
use crate::sdk::{
    AuditEntry, CallContext, CallError, CommandOutput, CommandView, HostRecord, NodeCapacity,
    Payload, RespondRecord, ServerError, SetControl, SetCreate, SetView,
};

/// Runs a module's SQL: the two SQL kinds of ops, in one transaction, with the guards of `fleet.db/1`.
pub trait SqlBackend: Send + Sync + 'static {
    /// 1 SQLite, 2 PostgreSQL.
    fn dialect(&self) -> u32;
    /// All statements on one snapshot, own tables only.
    fn read(
        &self,
        statements: Vec<AbiStatement>,
    ) -> BoxFuture<'static, Result<Vec<AbiTable>, ServerError>>;
    /// Index of each op in the whole batch, and the op.
    fn commit(&self, ops: Vec<(usize, Op)>) -> BoxFuture<'static, Result<(), ServerError>>;
}

/// What the fakes hold; a test reads and changes it through [`TestServer::state`](super::TestServer::state).
#[derive(Default)]
pub struct TestState {
    /// The lease clock.
    pub now_us: i64,
    /// By how much the wall clock was set.
    pub wall_set_by_us: i64,
    /// The inventory, by revision. Use [`TestServer::put_host`](super::TestServer::put_host).
    pub hosts: BTreeMap<HostId, HostRecord>,
    /// Deleted hosts, and the revision of the deletion.
    pub deleted_hosts: BTreeMap<HostId, i64>,
    /// The newest revision.
    pub hosts_revision: i64,
    /// When hosts were heard of last, as `last_seen` answers.
    pub last_seen_us: BTreeMap<HostId, i64>,
    /// The last heartbeat of each host, and its place in the feed. Use
    /// [`TestServer::put_capacity`](super::TestServer::put_capacity).
    pub capacity: BTreeMap<HostId, (u64, NodeCapacity)>,
    /// The newest place in the feed of heartbeats.
    pub capacity_sequence: u64,
    /// Of which life of the server that feed is.
    pub capacity_epoch: u64,
    /// What a module is told of the server's configuration.
    pub settings: BTreeMap<String, serde_json::Value>,
    /// Sets as created, with the hosts in their frozen order.
    pub created_sets: Vec<(SetCreate, Vec<HostId>)>,
    /// Sets as they are read; a created one is added.
    pub sets: BTreeMap<SetId, SetView>,
    /// Rows of the sets, in ordinal order.
    pub commands: BTreeMap<SetId, Vec<CommandView>>,
    /// How often a module asked for rows of sets.
    pub commands_asked: u64,
    /// Stored output, by command.
    pub outputs: BTreeMap<CommandId, CommandOutput>,
    /// Controls as they were committed.
    pub controls: Vec<SetControl>,
    /// How many controls of single hosts are still refused as unavailable: their rows are not all written.
    pub unready_controls: u32,
    /// Audit rows as they were committed.
    pub audits: Vec<AuditEntry>,
    /// Answers stored under an `Idempotency-Key`.
    pub responses: Vec<RespondRecord>,
    /// Keys as they were published, in order.
    pub signals: Vec<String>,
    /// Features that may not start new work, and why. Those not named may.
    pub refused_features: BTreeMap<String, String>,
    /// Principals that are gone or have lost their role. All others are operators.
    pub revoked: BTreeSet<String>,
}

type Method = Box<dyn Fn(CallContext, Payload) -> Result<Payload, CallError> + Send + Sync>;

/// What all clones of a test server hold.
pub(super) struct Shared {
    pub(super) state: Mutex<TestState>,
    pub(super) generation: watch::Sender<u64>,
    pub(super) methods: Mutex<BTreeMap<(String, String), Method>>,
    pub(super) sql: Option<Arc<dyn SqlBackend>>,
}

impl Shared {
    pub(super) fn new(sql: Option<Arc<dyn SqlBackend>>) -> Self {
        // 2026-01-01T00:00:00Z: any fixed time, late enough for ids and schedules.
        let state = TestState {
            now_us: 1_767_225_600_000_000,
            ..TestState::default()
        };
        Self {
            state: Mutex::new(state),
            generation: watch::Sender::new(0),
            methods: Mutex::default(),
            sql,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, TestState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
