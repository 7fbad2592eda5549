//! A placement module on a test host: real database, a clock the test turns, an inventory and heartbeats it makes.

use std::sync::Arc;
use std::time::Duration;

use fleetwright_module_placement::nodes::feed::Feed;
use fleetwright_module_placement::nodes::fleet::Fleet;
use fleetwright_module_placement::{Placement, http};
use fleetwright_plugin_api::sdk::testing::{
    SqlBackend, TestClient, TestResponse, TestServer, host_record, node_capacity, operator,
};
use fleetwright_plugin_api::sdk::{HostId, Module as _, NodeCapacity, Server};
use fleetwright_plugin_api::wire::VmReport;
use fleetwright_server::modules::testing::ModuleDatabase;
use fleetwright_tests::databases::TestDatabase;
use serde_json::{Value, json};
use uuid::Uuid;

use fleetwright_plugin_api::sdk::Bytes;
use fleetwright_plugin_api::sdk::axum::Router;

pub const FLEET: &str = "/api/v1/fleet";

pub struct Bench {
    pub server: TestServer,
    pub handle: Server,
    pub fleet: Fleet,
    pub feed: Arc<tokio::sync::Mutex<Feed>>,
    pub client: TestClient,
}

pub async fn tables(database: &TestDatabase) -> Arc<dyn SqlBackend> {
    let db = database.db.clone();
    let tables = ModuleDatabase::migrated(db, "placement", &Placement::migrations()).await;
    Arc::new(tables.unwrap())
}

pub fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

impl Bench {
    pub async fn start(database: &TestDatabase) -> Self {
        Self::over(TestServer::new(Some(tables(database).await)))
    }

    /// With a `[placement]` table of settings.
    pub async fn with_settings(database: &TestDatabase, placement: Value) -> Self {
        let server = TestServer::new(Some(tables(database).await));
        server.set_setting("placement", placement);
        Self::over(server)
    }

    /// A module that has just been started on this host.
    pub fn over(server: TestServer) -> Self {
        let handle = server.server("placement");
        let fleet = Fleet::new(&handle);
        let router: Router = http::router_over(&handle, &fleet);
        let context = operator();
        let feed = Arc::new(tokio::sync::Mutex::new(Feed::new(&fleet).unwrap()));
        Self {
            server,
            handle,
            fleet,
            feed,
            client: TestClient { router, context },
        }
    }

    /// The same, asked with a token of that tenant.
    pub fn of_tenant(&self, tenant: &str) -> Self {
        let mut client = self.client.clone();
        client.context.tenant = Some(tenant.to_owned());
        Self {
            server: self.server.clone(),
            handle: self.handle.clone(),
            fleet: self.fleet.clone(),
            feed: self.feed.clone(),
            client,
        }
    }

    /// A host that says it has so much available.
    pub async fn node(&self, number: u128, available_mb: i64) {
        self.server.put_host(host_record(HostId(id(number))));
        self.hear(number, available_mb, &[]).await;
    }

    /// Its agent says so, a moment after it said anything before.
    pub async fn hear(&self, number: u128, available_mb: i64, vms: &[(&str, u64)]) {
        let vms = vms.iter().map(|(vm, resident)| VmReport {
            id: (*vm).to_owned(),
            memory_resident_mb: Some(*resident),
        });
        self.hear_vms(number, available_mb, Some(vms.collect()))
            .await;
    }

    /// The same; without VMs it cannot tell which run.
    pub async fn hear_vms(&self, number: u128, available_mb: i64, vms: Option<Vec<VmReport>>) {
        self.server.advance(Duration::from_micros(1));
        let capacity = NodeCapacity {
            memory_available_mb: Some(u64::try_from(available_mb).unwrap()),
            cpu_load_pct: Some(5.2),
            vms,
            ..node_capacity(65_536, 64)
        };
        self.server.put_capacity(HostId(id(number)), capacity);
        self.follow().await;
    }

    /// Takes what agents have said.
    pub async fn follow(&self) {
        self.feed.lock().await.read().await.unwrap();
    }

    pub async fn send(&self, method: &str, path: &str, body: Value) -> TestResponse {
        let path = format!("{FLEET}{path}");
        self.client.json(method, &path, &body).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> TestResponse {
        self.send("GET", path, Value::Null).await
    }

    pub async fn send_if(&self, method: &str, path: &str, tag: &str, body: &Value) -> TestResponse {
        let request = ::http::Request::builder()
            .method(method)
            .uri(format!("{FLEET}{path}"))
            .header("content-type", "application/json")
            .header("if-match", tag)
            .body(Bytes::from(body.to_string()))
            .unwrap();
        self.client.send(request).await.unwrap()
    }

    /// Asks for a VM of tenant `a`.
    pub async fn place(&self, vm_id: &str, memory_mb: i64) -> TestResponse {
        let body = json!({"tenant_id": "a", "vm_id": vm_id, "memory_mb": memory_mb});
        self.send("POST", "/placements", body).await
    }

    /// The id of one that was placed.
    pub async fn placed(&self, vm_id: &str, memory_mb: i64) -> String {
        let answer = self.place(vm_id, memory_mb).await;
        assert_eq!(answer.status, 201, "{:?}", answer.json());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// The id of a live placement, by its VM.
    pub async fn placed_id(&self, vm_id: &str) -> String {
        let listed = self.get("/tenants/a/vms?limit=500").await.json();
        let items = listed["items"].as_array().unwrap();
        let found = items.iter().find(|item| item["vm_id"] == vm_id).unwrap();
        found["id"].as_str().unwrap().to_owned()
    }

    pub async fn state(&self, placement: &str) -> String {
        let answer = self.get(&format!("/placements/{placement}")).await;
        answer.json()["state"].as_str().unwrap().to_owned()
    }

    pub async fn held(&self) -> i64 {
        let status = self.get("/status").await.json();
        status["held"]["memory_mb"].as_i64().unwrap()
    }
}

pub fn code(answer: &TestResponse) -> (u16, String) {
    let code = answer.json()["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (answer.status, code)
}
