//! All routes of the module on a real database. Loops run only where a test asks for a pass of them.

use std::sync::Arc;
use std::time::Duration;

use fleetwright_module_placement::claims::reap::reap_once;
use fleetwright_module_placement::{Placement, http};
use fleetwright_plugin_api::sdk::testing::{TestClient, TestResponse, TestServer, operator};
use fleetwright_plugin_api::sdk::{Module as _, Server};
use fleetwright_server::modules::testing::ModuleDatabase;
use fleetwright_tests::databases::TestDatabase;
use serde_json::{Value, json};

pub struct Bench {
    pub server: TestServer,
    pub client: TestClient,
    pub handle: Server,
}

impl Bench {
    pub async fn start(database: &TestDatabase, switches: &[&str]) -> Self {
        let migrations = Placement::migrations();
        let tables = ModuleDatabase::migrated(database.db.clone(), "placement", &migrations).await;
        let server = TestServer::new(Some(Arc::new(tables.unwrap())));
        for switch in switches {
            server.set_setting(switch, true.into());
        }
        Self::beside(&server)
    }

    /// Another server over the same database.
    pub fn beside(server: &TestServer) -> Self {
        let handle = server.server("placement");
        let client = TestClient {
            router: http::router(&handle),
            context: operator(),
        };
        Self {
            server: server.clone(),
            client,
            handle,
        }
    }

    /// The same server, asked with a token of this tenant.
    pub fn of_tenant(&self, tenant: &str) -> Self {
        let mut client = self.client.clone();
        client.context.tenant = Some(tenant.to_owned());
        Self {
            server: self.server.clone(),
            client,
            handle: self.handle.clone(),
        }
    }

    pub async fn send(&self, method: &str, path: &str, body: &Value) -> TestResponse {
        let path = format!("/api/v1/fleet{path}");
        self.client.json(method, &path, body).await.unwrap()
    }

    pub async fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.send(method, path, &body).await;
        assert!(
            (200..300).contains(&answer.status),
            "{method} {path}: {:?}",
            answer.json()
        );
        answer.json()
    }

    /// Status and code.
    pub async fn told(&self, method: &str, path: &str, body: Value) -> (u16, String) {
        let answer = self.send(method, path, &body).await;
        let code = answer.json()["code"].as_str().unwrap_or("").to_owned();
        (answer.status, code)
    }

    pub async fn job(&self, mut body: Value) -> String {
        body["bodyMd"] = json!("do it");
        text(&self.done("POST", "/jobs", body).await, "id")
    }

    pub async fn factory(&self, name: &str, seats: u32, capabilities: &[&str]) -> String {
        let body = json!({"name": name, "seat_limit": seats, "capabilities": capabilities});
        text(&self.done("POST", "/factories", body).await, "id")
    }

    /// The job that it gets; null where there is nothing.
    pub async fn claim(&self, factory: &str) -> Value {
        self.done("POST", "/jobs/claim", json!({"factory_id": factory}))
            .await
    }

    /// The keys of the jobs it gets, one after the other until there is nothing.
    pub async fn keys(&self, body: Value) -> Vec<String> {
        let mut keys = Vec::new();
        loop {
            let claimed = self.done("POST", "/jobs/claim", body.clone()).await;
            if claimed.is_null() {
                return keys;
            }
            keys.push(text(&claimed, "idempotency_key"));
        }
    }

    pub async fn see(&self, job: &str) -> Value {
        self.done("GET", &format!("/jobs/{job}"), Value::Null).await
    }

    pub async fn patch(&self, claimed: &Value, stage: &str) -> (u16, String) {
        let path = format!("/jobs/{}", text(claimed, "id"));
        let body = json!({"stage": stage, "lease_epoch": claimed["lease_epoch"]});
        self.told("PATCH", &path, body).await
    }

    pub fn after(&self, seconds: u64) {
        self.server.advance(Duration::from_secs(seconds));
    }

    pub async fn reap(&self) -> usize {
        reap_once(&self.handle).await.unwrap()
    }
}

pub fn text(value: &Value, name: &str) -> String {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} of {value}"))
        .to_owned()
}
