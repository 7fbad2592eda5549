//! Errands on a test server: a real database, a fake core. Its groups module answers selectors that name a number of hosts:
//! `{"hosts": 3}`.

use std::sync::Arc;

use fleetwright_plugin_api::sdk::testing::{TestClient, TestResponse, TestServer};
use fleetwright_plugin_api::sdk::{
    Batch, HostId, Module as _, Payload, Server, SetId, SetView, Statement,
};
use fleetwright_server::modules::testing::ModuleDatabase;
use fleetwright_tests::databases::TestDatabase;
use http::Request;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::sample::Errands;

pub const ERRANDS: &str = "/api/v1/fleet/errands";

pub struct Bench {
    pub fake: TestServer,
    pub client: TestClient,
    pub module: Errands,
    pub server: Server,
}

impl Bench {
    pub async fn start(database: &TestDatabase) -> Self {
        let tables =
            ModuleDatabase::migrated(database.db.clone(), "errands", &Errands::migrations()).await;
        let fake = TestServer::new(Some(Arc::new(tables.unwrap())));
        fake.on_invoke("groups", "select", |_context, payload| {
            let number = payload.json["selector"]["hosts"]
                .as_u64()
                .unwrap_or_default();
            let hosts = (0..number).map(host_id);
            Ok(Payload {
                json: json!({"digest": format!("sha256:{number:064x}"), "unknown_host_ids": []}),
                blob: hosts.flat_map(|id| *id.as_bytes()).collect(),
            })
        });
        let (module, client) = fake.start::<Errands>("errands").await.unwrap();
        let server = fake.server("errands");
        Self {
            fake,
            client,
            module,
            server,
        }
    }

    pub async fn get(&self, path: &str) -> TestResponse {
        let path = format!("{ERRANDS}{path}");
        self.client.json("GET", &path, &Value::Null).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: Value) -> TestResponse {
        let path = format!("{ERRANDS}{path}");
        self.client.json("POST", &path, &body).await.unwrap()
    }

    pub async fn with_header(
        &self,
        method: &str,
        path: &str,
        (name, value): (&str, &str),
    ) -> TestResponse {
        let request = Request::builder()
            .method(method)
            .uri(format!("{ERRANDS}{path}"))
            .header(name, value)
            .body(bytes::Bytes::new())
            .unwrap();
        self.client.send(request).await.unwrap()
    }

    /// Creates an errand to so many hosts.
    pub async fn create(&self, hosts: u64) -> Uuid {
        let answer = self.post("", body(hosts)).await;
        assert_eq!(answer.status, 202, "{:?}", answer.json());
        answer.json()["id"].as_str().unwrap().parse().unwrap()
    }

    /// Moves the counters of an errand, as the core would.
    pub fn change(&self, id: Uuid, change: impl FnOnce(&mut SetView)) {
        {
            let mut state = self.fake.state();
            let set = state.sets.get_mut(&SetId(id)).unwrap();
            change(set);
            set.revision += 1;
        }
        self.fake.publish(&format!("set:{id}"));
    }

    /// Ends every host of an errand.
    pub fn finish(&self, id: Uuid) {
        self.change(id, |set| {
            (set.queued, set.running, set.succeeded) = (0, 0, set.total);
            set.finished_at_us = Some(set.created_at_us + 1);
        });
    }

    pub async fn write(&self, statement: Statement) {
        let batch = Batch::new().sql(statement);
        let context = self.client.context.clone();
        self.server.db().commit(&context, batch).await.unwrap();
    }
}

/// A valid body over so many hosts.
pub fn body(hosts: u64) -> Value {
    json!({
        "operation_type": "run_script",
        "parameters": {"script": "true"},
        "selector": {"hosts": hosts},
    })
}

pub fn host_id(number: u64) -> HostId {
    HostId(Uuid::from_u128(0x0190_0000 + u128::from(number)))
}
