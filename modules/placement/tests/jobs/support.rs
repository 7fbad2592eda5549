//! The module on a test host: a real database, and claims made as the claims do, by the one place that writes jobs.

use std::sync::Arc;

use fleetwright_module_placement::http;
use fleetwright_module_placement::jobs::job::Job;
use fleetwright_module_placement::jobs::store;
use fleetwright_module_placement::store::MIGRATIONS;
use fleetwright_plugin_api::sdk::testing::{TestClient, TestResponse, TestServer, operator};
use fleetwright_plugin_api::sdk::{Batch, Server, Statement};
use fleetwright_server::modules::testing::ModuleDatabase;
use fleetwright_tests::databases::TestDatabase;
use serde_json::{Value, json};
use uuid::Uuid;

pub const JOBS: &str = "/api/v1/fleet/jobs";

pub struct Bench {
    pub server: TestServer,
    pub client: TestClient,
    pub handle: Server,
    pub factory_id: Uuid,
}

impl Bench {
    pub async fn start(database: &TestDatabase) -> Self {
        let db = database.db.clone();
        let tables = ModuleDatabase::migrated(db, "placement", &MIGRATIONS).await;
        let server = TestServer::new(Some(Arc::new(tables.unwrap())));
        let handle = server.server("placement");
        let client = TestClient {
            router: http::router(&handle),
            context: operator(),
        };
        let factory_id = Uuid::from_u128(9);
        let sql = "INSERT INTO placement_factory (id, tenant_id, name, capabilities, seat_limit, seen_lease, seen_at, \
                   registered_at, registered_by, revision) VALUES ($1, '', 'f', '[]', 1000, 0, 0, 0, 'user:test', 1)";
        let batch = Batch::new().sql(Statement::new(sql).bind(factory_id));
        handle.db().commit(&operator(), batch).await.unwrap();
        Self {
            server,
            client,
            handle,
            factory_id,
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
            factory_id: self.factory_id,
        }
    }

    pub async fn send(&self, method: &str, path: &str, body: Value) -> TestResponse {
        let path = format!("{JOBS}{path}");
        self.client.json(method, &path, &body).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = self.send("GET", path, Value::Null).await;
        assert_eq!(answer.status, 200, "{:?}", answer.json());
        answer.json()
    }

    /// Status and code of what comes of it.
    pub async fn told(&self, method: &str, path: &str, body: Value) -> (u16, String) {
        let answer = self.send(method, path, body).await;
        let code = answer.json()["code"].as_str().unwrap_or("").to_owned();
        (answer.status, code)
    }

    pub async fn submit(&self, body: Value) -> Value {
        let answer = self.send("POST", "", body).await;
        assert_eq!(answer.status, 201, "{:?}", answer.json());
        answer.json()
    }

    /// A job of this key with a body.
    pub async fn task(&self, key: &str) -> Uuid {
        id(&self
            .submit(json!({"idempotency_key": key, "body_md": "do"}))
            .await)
    }

    pub async fn job(&self, id: Uuid) -> Job {
        store::job(self.handle.db(), id).await.unwrap().unwrap()
    }

    pub async fn stage(&self, id: Uuid) -> String {
        self.job(id).await.stage.as_str().to_owned()
    }

    /// Claims a job for the factory; gives its epoch.
    pub async fn claim(&self, id: Uuid) -> i64 {
        let mut client = self.client.clone();
        client.context.tenant = None;
        let body = json!({"factory_id": self.factory_id});
        let path = format!("{JOBS}/{id}/claim");
        let answer = client.json("POST", &path, &body).await.unwrap();
        assert_eq!(answer.status, 200, "{:?}", answer.json());
        answer.json()["lease_epoch"].as_i64().unwrap()
    }

    pub async fn patch(&self, id: Uuid, body: Value) -> (u16, String) {
        self.told("PATCH", &format!("/{id}"), body).await
    }

    /// Claims it and ships it.
    pub async fn ship(&self, id: Uuid) {
        let epoch = self.claim(id).await;
        for stage in ["building", "done"] {
            let told = self
                .patch(id, json!({"stage": stage, "lease_epoch": epoch}))
                .await;
            assert_eq!(told, (200, String::new()));
        }
    }
}

pub fn id(job: &Value) -> Uuid {
    job["id"].as_str().unwrap().parse().unwrap()
}

/// The id of the child with this key.
pub fn child(job: &Value, key: &str) -> Uuid {
    let children = job["children"].as_array().unwrap();
    let found = children
        .iter()
        .find(|child| child["idempotency_key"] == key);
    id(found.unwrap())
}
