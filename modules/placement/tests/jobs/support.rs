//! The module on a test host: a real database, and claims made as the claims do, by the one place that writes jobs.

use std::collections::BTreeMap;
use std::sync::Arc;

use fleetwright_module_placement::jobs::decide::{Actor, Event, after};
use fleetwright_module_placement::jobs::http;
use fleetwright_module_placement::jobs::job::{Job, Lease};
use fleetwright_module_placement::jobs::store;
use fleetwright_module_placement::jobs::store::change::{self, Event as Told};
use fleetwright_module_placement::store::MIGRATIONS;
use fleetwright_plugin_api::sdk::testing::{TestClient, TestResponse, TestServer, operator};
use fleetwright_plugin_api::sdk::{Batch, Server, ServerError, Statement};
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
            router: http::router(handle.clone()),
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

    /// Claims a job; gives its epoch.
    pub async fn claim(&self, id: Uuid) -> i64 {
        let job = self.job(id).await;
        let mut claimed = after(&job, Actor::System, Event::Claim, self.handle.now_us()).unwrap();
        claimed.lease = Some(Lease {
            factory_id: self.factory_id,
            claim_id: None,
            claimed_at_us: self.handle.now_us(),
            expires_lease_us: self.handle.lease_us() + 900_000_000,
        });
        self.write(&job, &claimed, "claimed").await.unwrap();
        claimed.lease_epoch
    }

    pub async fn write(
        &self,
        before: &Job,
        after: &Job,
        kind: &'static str,
    ) -> Result<(), ServerError> {
        let told = Told {
            kind,
            actor: "module:placement".to_owned(),
            data: json!({}),
        };
        let batch = change::update(Batch::new(), before, after, &told);
        let context = self.handle.own_context();
        self.handle.db().commit(&context, batch).await
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

    /// The kept counts against the rows they count, and the seats against who holds what.
    pub async fn check_kept(&self) {
        let read = |sql: &'static str| self.handle.db().read_one(Statement::new(sql));
        let mut kept: BTreeMap<String, i64> = BTreeMap::new();
        for row in read("SELECT stage, jobs FROM placement_job_count")
            .await
            .unwrap()
            .iter()
        {
            *kept
                .entry(row.text("stage").unwrap().to_owned())
                .or_default() += row.integer("jobs").unwrap();
        }
        kept.retain(|_, jobs| *jobs != 0);
        let real = read("SELECT stage, COUNT(*) AS jobs FROM placement_job GROUP BY stage")
            .await
            .unwrap();
        let real: BTreeMap<String, i64> = real
            .iter()
            .map(|row| {
                (
                    row.text("stage").unwrap().to_owned(),
                    row.integer("jobs").unwrap(),
                )
            })
            .collect();
        assert_eq!(kept, real);
        let queued = read("SELECT queued FROM placement_bucket").await.unwrap();
        let queued: i64 = queued
            .iter()
            .map(|row| row.integer("queued").unwrap())
            .sum();
        let counts = self.get("/counts").await;
        assert_eq!(counts["totals"]["queued"].as_i64().unwrap_or(0), queued);
        let held = read("SELECT COUNT(*) AS held FROM placement_job WHERE factory_id IS NOT NULL")
            .await
            .unwrap();
        let seats = read("SELECT seats_used FROM placement_factory")
            .await
            .unwrap();
        let held = held.first().unwrap().integer("held").unwrap();
        assert_eq!(seats.first().unwrap().integer("seats_used").unwrap(), held);
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
