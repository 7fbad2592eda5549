//! A rolling module on a test host. Its groups module answers selectors that name a number of hosts: `{"hosts": 3}`.

use std::sync::Arc;
use std::time::Duration;

use fleetwright_module_rolling::Rolling;
use fleetwright_plugin_api::sdk::testing::{TestClient, TestResponse, TestServer};
use fleetwright_plugin_api::sdk::{CallContext, HostId, Module as _, Payload, SetId, SetView};
use fleetwright_server::modules::testing::ModuleDatabase;
use fleetwright_tests::databases::TestDatabase;
use serde_json::{Value, json};
use uuid::Uuid;

pub const ROLLING: &str = "/api/v1/fleet/rolling";
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Bench {
    pub server: TestServer,
    pub client: TestClient,
    pub module: Arc<Rolling>,
    pub handle: fleetwright_plugin_api::sdk::Server,
}

impl Bench {
    pub async fn start(database: &TestDatabase) -> Self {
        let db = database.db.clone();
        let tables = ModuleDatabase::migrated(db, "rolling", &Rolling::migrations()).await;
        let server = TestServer::new(Some(Arc::new(tables.unwrap())));
        server.on_invoke("groups", "select", |_context, payload| {
            let number = payload.json["selector"]["hosts"].as_u64().unwrap_or_default();
            let mut hosts: Vec<HostId> = (0..number).map(host_id).collect();
            // Whoever forgets to ask for the order of batches gets another one.
            if payload.json["order"] != "online_then_name" {
                hosts.reverse();
            }
            Ok(Payload {
                json: json!({"count": number, "digest": format!("sha256:{number:064x}"), "unknown_host_ids": []}),
                blob: hosts.iter().flat_map(|id| *id.as_bytes()).collect(),
            })
        });
        let (module, client) = server.start::<Rolling>("rolling").await.unwrap();
        let handle = server.server("rolling");
        Self {
            server,
            client,
            module: Arc::new(module),
            handle,
        }
    }

    pub async fn post(&self, path: &str, body: Value) -> TestResponse {
        let path = format!("{ROLLING}{path}");
        self.client.json("POST", &path, &body).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> TestResponse {
        let path = format!("{ROLLING}{path}");
        self.client.json("GET", &path, &Value::Null).await.unwrap()
    }

    /// Creates a deployment over so many hosts, with more fields.
    pub async fn create(&self, hosts: u64, more: Value) -> Uuid {
        let answer = self.post("", body(hosts, more)).await;
        assert_eq!(answer.status, 202, "{:?}", answer.json());
        id_of(&answer.json())
    }

    /// Waits until a read of the deployment looks as wanted.
    pub async fn until(&self, id: Uuid, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let seen = self.get(&format!("/{id}")).await.json();
            if holds(&seen) {
                return seen;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "waited for {what}: {seen}"
            );
            tokio::task::yield_now().await;
        }
    }

    /// Waits until so many hosts of a set were released, and ends them.
    pub async fn finish(&self, id: Uuid, released: u64, failed: u64) {
        self.until(id, "the batch to be released", |_| {
            self.set(id).queued == released
        })
        .await;
        self.change(id, |set| {
            assert_eq!(set.queued, released);
            set.queued = 0;
            set.succeeded += released - failed;
            set.failed += failed;
        });
    }

    pub fn set(&self, id: Uuid) -> SetView {
        self.server.state().sets[&SetId(id)].clone()
    }

    /// Moves the counters of a set, as the core would.
    pub fn change(&self, id: Uuid, change: impl FnOnce(&mut SetView)) {
        {
            let mut state = self.server.state();
            let set = state.sets.get_mut(&SetId(id)).unwrap();
            change(set);
            set.revision += 1;
        }
        self.server.publish(&format!("set:{id}"));
    }

    pub fn context(&self) -> CallContext {
        self.client.context.clone()
    }

    pub async fn trace(&self, id: Uuid) -> Vec<String> {
        let page = self.get(&format!("/{id}/trace")).await.json();
        let moves = page["items"].as_array().unwrap().iter();
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
        moves
            .map(|entry| {
                format!(
                    "{} {} {}",
                    text(entry, "from"),
                    text(entry, "to"),
                    text(entry, "cause")
                )
            })
            .collect()
    }
}

/// A valid body over so many hosts.
pub fn body(hosts: u64, more: Value) -> Value {
    let mut body = json!({
        "operation_type": "run_script",
        "parameters": {"script": "echo hi"},
        "selector": {"hosts": hosts},
        "batch_size": 2,
    });
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    body
}

pub fn host_id(number: u64) -> HostId {
    HostId(Uuid::from_u128(0x0190_0000 + u128::from(number)))
}

pub fn id_of(answer: &Value) -> Uuid {
    answer["id"].as_str().unwrap().parse().unwrap()
}
