//! `TestServer`: a server in memory for a module's own tests. Clock, sets, hosts, signals, features and other modules are
//! fakes a test drives; the database is plugged in, because an SDK that carried one would put a second copy of SQLite
//! into every module. `fleetwright-server` (as a dev-dependency) gives real SQLite and PostgreSQL behind [`SqlBackend`].

pub mod declaration;
mod fakes;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use abi_stable::sabi_trait::TD_Opaque;
use async_ffi::FfiFuture;
use axum::Router;
use bytes::Bytes;
use fleetwright_protocol::{HostId, SetId};
use futures_util::future::BoxFuture;
use http::Request;
use http_body_util::BodyExt as _;
use tokio::sync::watch;

use super::server::Services;
use super::{
    AuditEntry, CallContext, CallError, CommandOutput, CommandView, FeatureState, HostRecord,
    Module, ModuleError, Payload, RespondRecord, Server, ServerError, SetControl, SetCreate,
    SetView,
};
use crate::abi::{
    AbiStatement, AbiTable, CallApi_TO, ClockApi_TO, DbApi_TO, FeaturesApi_TO, HostsApi_TO,
    IdentityApi_TO, LogApi_TO, Op, SetsApi_TO, SignalsApi_TO,
};
use crate::wire::Environment;

/// Runs a module's SQL: the two SQL kinds of ops, in one transaction, with the guards of `fleet.db/1`.
pub trait SqlBackend: Send + Sync + 'static {
    /// 1 SQLite, 2 PostgreSQL.
    fn dialect(&self) -> u32;
    fn read(
        &self,
        statements: Vec<AbiStatement>,
    ) -> BoxFuture<'static, Result<Vec<AbiTable>, ServerError>>;
    /// Index of each op in the whole batch, and the op.
    fn commit(&self, ops: Vec<(usize, Op)>) -> BoxFuture<'static, Result<(), ServerError>>;
}

/// What the fakes hold; a test reads and changes it through [`TestServer::state`].
#[derive(Default)]
pub struct TestState {
    /// The lease clock.
    pub now_us: i64,
    /// By how much the wall clock was set.
    pub wall_set_by_us: i64,
    /// The inventory, by revision. Use [`TestServer::put_host`].
    pub hosts: BTreeMap<HostId, HostRecord>,
    pub deleted_hosts: BTreeMap<HostId, i64>,
    pub hosts_revision: i64,
    pub last_seen_us: BTreeMap<HostId, i64>,
    /// Sets as created, with the hosts in their frozen order.
    pub created_sets: Vec<(SetCreate, Vec<HostId>)>,
    pub sets: BTreeMap<SetId, SetView>,
    pub commands: BTreeMap<SetId, Vec<CommandView>>,
    /// How often a module asked for rows of sets.
    pub commands_asked: u64,
    pub outputs: BTreeMap<fleetwright_protocol::CommandId, CommandOutput>,
    pub controls: Vec<SetControl>,
    /// How many controls of single hosts are still refused as unavailable: their rows are not all written.
    pub unready_controls: u32,
    pub audits: Vec<AuditEntry>,
    pub responses: Vec<RespondRecord>,
    pub signals: Vec<String>,
    /// Features that may not start new work, and why. Those not named may.
    pub refused_features: BTreeMap<String, String>,
    /// Principals that are gone or have lost their role. All others are operators.
    pub revoked: std::collections::BTreeSet<String>,
}

type Method = Box<dyn Fn(CallContext, Payload) -> Result<Payload, CallError> + Send + Sync>;

/// A fake server. Cheap to clone; clones share their state.
#[derive(Clone)]
pub struct TestServer {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    state: Mutex<TestState>,
    generation: watch::Sender<u64>,
    methods: Mutex<BTreeMap<(String, String), Method>>,
    sql: Option<Arc<dyn SqlBackend>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, TestState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TestServer {
    /// A server whose database is `sql`; without one, every read and SQL write fails.
    pub fn new(sql: Option<Arc<dyn SqlBackend>>) -> Self {
        // 2026-01-01T00:00:00Z: any fixed time, late enough for ids and schedules.
        let state = TestState {
            now_us: 1_767_225_600_000_000,
            ..TestState::default()
        };
        let shared = Shared {
            state: Mutex::new(state),
            generation: watch::Sender::new(0),
            methods: Mutex::default(),
            sql,
        };
        Self {
            shared: Arc::new(shared),
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
                    ..Environment::default()
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

    pub fn state(&self) -> MutexGuard<'_, TestState> {
        self.shared.state()
    }

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
    }
}

/// The context of an operator without a tenant.
pub fn operator() -> CallContext {
    CallContext {
        request_id: "test-request".to_owned(),
        principal: "user:test".to_owned(),
        principal_name: "test".to_owned(),
        role: "operator".to_owned(),
        address: "127.0.0.1".to_owned(),
        ..CallContext::default()
    }
}

/// Sends requests to a module's router, through the same adapter as in the server.
#[derive(Clone)]
pub struct TestClient {
    pub router: Router,
    pub context: CallContext,
}

/// An answer, its body read whole.
#[derive(Debug)]
pub struct TestResponse {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl TestResponse {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl TestClient {
    pub async fn send(&self, request: Request<Bytes>) -> Result<TestResponse, ServerError> {
        let request = super::adapter::abi_request(&self.context, request);
        let runtime = tokio::runtime::Handle::current();
        let answer = super::adapter::serve(self.router.clone(), request, runtime).await;
        let (parts, body) = super::adapter::collect_response(answer).await?.into_parts();
        let body = http_body_util::Full::new(body)
            .collect()
            .await
            .map_or_else(|never| match never {}, http_body_util::Collected::to_bytes);
        Ok(TestResponse {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    }

    /// A request with a JSON body; `null` sends none.
    pub async fn json(
        &self,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<TestResponse, ServerError> {
        let mut request = Request::builder().method(method).uri(path);
        let bytes = if body.is_null() {
            Bytes::new()
        } else {
            request = request.header("content-type", "application/json");
            Bytes::from(body.to_string())
        };
        let request = request
            .body(bytes)
            .map_err(|error| ServerError::Invalid(error.to_string()))?;
        self.send(request).await
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

type Answer<T> = FfiFuture<abi_stable::std_types::RResult<T, crate::abi::AbiError>>;
