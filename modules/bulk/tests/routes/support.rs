//! A bulk module on a test host: real database, fake core. Its groups module answers selectors that name a number of
//! hosts: `{"hosts": 3}`.

use std::sync::Arc;

use bytes::Bytes;
use fleetwright_module_bulk::Bulk;
use fleetwright_plugin_api::sdk::testing::{TestClient, TestResponse, TestServer};
use fleetwright_plugin_api::sdk::{
    CallContext, CallError, CommandId, CommandStatus, CommandView, HostId, Module as _, Payload,
    Problem, SetId, SetView, Violation,
};
use fleetwright_server::modules::testing::ModuleDatabase;
use fleetwright_tests::databases::TestDatabase;
use serde_json::{Value, json};
use uuid::Uuid;

pub const BULK: &str = "/api/v1/fleet/bulk";

pub struct Bench {
    pub server: TestServer,
    pub client: TestClient,
    pub module: Arc<Bulk>,
    /// For calling a pass of a loop directly.
    pub handle: fleetwright_plugin_api::sdk::Server,
}

impl Bench {
    pub async fn start(database: &TestDatabase) -> Self {
        let db = database.db.clone();
        let tables = ModuleDatabase::migrated(db, "bulk", &Bulk::migrations()).await;
        let server = TestServer::new(Some(Arc::new(tables.unwrap())));
        server.on_invoke("groups", "select", |_context, payload| select(&payload));
        let (module, client) = server.start::<Bulk>("bulk").await.unwrap();
        let handle = server.server("bulk");
        Self {
            server,
            client,
            module: Arc::new(module),
            handle,
        }
    }

    pub async fn post(&self, path: &str, body: Value) -> TestResponse {
        let path = format!("{BULK}{path}");
        self.client.json("POST", &path, &body).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> TestResponse {
        let path = format!("{BULK}{path}");
        self.client.json("GET", &path, &Value::Null).await.unwrap()
    }

    pub async fn get_with(&self, path: &str, name: &str, value: &str) -> TestResponse {
        let request = http::Request::builder()
            .uri(format!("{BULK}{path}"))
            .header(name, value)
            .body(Bytes::new())
            .unwrap();
        self.client.send(request).await.unwrap()
    }

    pub async fn post_with(&self, path: &str, name: &str, value: &str) -> TestResponse {
        let request = http::Request::builder()
            .method("POST")
            .uri(format!("{BULK}{path}"))
            .header(name, value)
            .body(Bytes::new())
            .unwrap();
        self.client.send(request).await.unwrap()
    }

    /// Creates an operation over so many hosts.
    pub async fn create(&self, hosts: u64) -> Uuid {
        let answer = self.post("", body(hosts)).await;
        assert_eq!(answer.status, 202, "{:?}", answer.json());
        id_of(&answer.json())
    }

    /// Moves the counters of an operation, as the core would.
    pub fn change(&self, id: Uuid, change: impl FnOnce(&mut SetView)) {
        {
            let mut state = self.server.state();
            let set = state.sets.get_mut(&SetId(id)).unwrap();
            change(set);
            set.revision += 1;
        }
        self.server.publish(&format!("set:{id}"));
    }

    /// Ends every host of an operation.
    pub fn finish(&self, id: Uuid, succeeded: u64, failed: u64, skipped: u64) {
        self.change(id, |set| {
            (set.held, set.queued, set.running) = (0, 0, 0);
            (set.succeeded, set.failed, set.skipped) = (succeeded, failed, skipped);
            assert_eq!(set.total, succeeded + failed + skipped);
            set.finished_at_us = Some(set.created_at_us + 5_000_000);
        });
    }

    /// Gives an operation rows with these statuses, in its frozen order.
    pub fn rows(&self, id: Uuid, statuses: &[CommandStatus]) {
        let rows = statuses
            .iter()
            .enumerate()
            .map(|(ordinal, status)| row(id, ordinal, *status))
            .collect();
        self.server.state().commands.insert(SetId(id), rows);
    }

    pub fn as_tenant(&self, tenant: &str) -> Self {
        let mut client = self.client.clone();
        client.context.tenant = Some(tenant.to_owned());
        Self {
            server: self.server.clone(),
            client,
            module: Arc::clone(&self.module),
            handle: self.handle.clone(),
        }
    }

    pub fn context(&self) -> CallContext {
        self.client.context.clone()
    }
}

/// A valid body over so many hosts.
pub fn body(hosts: u64) -> Value {
    json!({
        "operation_type": "run_script",
        "parameters": {"script": "echo hi"},
        "selector": {"hosts": hosts},
    })
}

pub fn host_id(number: u64) -> HostId {
    HostId(Uuid::from_u128(0x0190_0000 + u128::from(number)))
}

pub fn id_of(answer: &Value) -> Uuid {
    answer["id"].as_str().unwrap().parse().unwrap()
}

pub fn row(id: Uuid, ordinal: usize, status: CommandStatus) -> CommandView {
    let ordinal = u64::try_from(ordinal).unwrap();
    CommandView {
        id: CommandId(Uuid::from_u128(0x77_0000 + u128::from(ordinal))),
        set_id: SetId(id),
        host_id: host_id(ordinal),
        ordinal,
        status,
        reason: None,
        attempt: 1,
        cancel_requested: false,
        exit_code: None,
        changed: None,
        message: String::new(),
        created_at_us: 0,
        started_at_us: None,
        finished_at_us: None,
        stdout_tail: String::new(),
        stderr_tail: String::new(),
        late_result: None,
        details: None,
    }
}

fn select(payload: &Payload) -> Result<Payload, CallError> {
    let selector = &payload.json["selector"];
    let hosts: Vec<HostId> = if let Some(number) = selector["hosts"].as_u64() {
        (0..number).map(host_id).collect()
    } else if let Some(ids) = selector["explicit_host_ids"].as_array() {
        let ids = ids.iter().map(|id| id.as_str().unwrap().parse().unwrap());
        ids.collect()
    } else {
        let violation = Violation::new("/hosts", "selector-value-invalid", "must be a number");
        return Err(Problem::invalid(vec![violation]).into());
    };
    let digest = format!("sha256:{:064x}", hosts.len());
    let expected = &payload.json["expected_digest"];
    if expected.as_str().is_some_and(|expected| expected != digest) {
        return Err(Problem::conflict("selection-changed", "another selection").into());
    }
    Ok(Payload {
        json: json!({"count": hosts.len(), "digest": digest, "unknown_host_ids": []}),
        blob: hosts.iter().flat_map(|id| *id.as_bytes()).collect(),
    })
}
