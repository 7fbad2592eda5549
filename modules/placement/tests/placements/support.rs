//! A placement module on a test host: real database, a clock the test turns, an inventory and heartbeats it makes.

use std::collections::BTreeMap;
use std::sync::Arc;

use fleetwright_module_placement::nodes::feed::Heartbeat;
use fleetwright_module_placement::nodes::fleet::Fleet;
use fleetwright_module_placement::nodes::node::Capacity;
use fleetwright_module_placement::{Placement, http};
use fleetwright_plugin_api::sdk::testing::{
    SqlBackend, TestClient, TestResponse, TestServer, host_record, operator,
};
use fleetwright_plugin_api::sdk::{HostId, Module as _, Server};
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

    /// A module that has just been started on this host.
    pub fn over(server: TestServer) -> Self {
        let handle = server.server("placement");
        let fleet = Fleet::new(&handle);
        let router: Router = http::router_over(&handle, &fleet);
        let context = operator();
        Self {
            server,
            handle,
            fleet,
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
            client,
        }
    }

    /// A host that says it has so much available.
    pub async fn node(&self, number: u128, available_mb: i64) {
        self.server.put_host(host_record(HostId(id(number))));
        self.hear(number, available_mb, &[]).await;
    }

    pub async fn hear(&self, number: u128, available_mb: i64, vms: &[(&str, i64)]) {
        let vms: BTreeMap<String, i64> = vms
            .iter()
            .map(|(vm, resident)| ((*vm).to_owned(), *resident))
            .collect();
        let capacity = Capacity {
            memory_total_mb: 65_536,
            memory_available_mb: available_mb,
            cpu_count: 64,
            cpu_load_pct: 5,
            kvm_available: true,
            vm_count: i64::try_from(vms.len()).unwrap(),
            vms,
            boot_id: None,
        };
        let heartbeat = Heartbeat {
            host_id: id(number),
            heard_lease_us: self.handle.lease_us(),
            heard_at_us: self.handle.now_us(),
            capacity,
        };
        self.fleet.hear(vec![heartbeat]).await.unwrap();
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
