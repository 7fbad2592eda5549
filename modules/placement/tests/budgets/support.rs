//! The routes of budgets on a real database. Loops run only where a test asks for a pass of them.

use std::sync::Arc;

use fleetwright_module_placement::Placement;
use fleetwright_module_placement::budgets::actions::Desk;
use fleetwright_module_placement::budgets::http;
use fleetwright_plugin_api::sdk::testing::{TestClient, TestResponse, TestServer, operator};
use fleetwright_plugin_api::sdk::{Batch, Bytes, Module as _, Server, ServerError};
use fleetwright_server::modules::testing::ModuleDatabase;
use fleetwright_tests::databases::TestDatabase;
use serde_json::Value;

pub const BUDGETS: &str = "/api/v1/fleet/budgets";

pub struct Bench {
    pub server: TestServer,
    pub client: TestClient,
    pub handle: Server,
}

impl Bench {
    pub async fn start(database: &TestDatabase, is_enforced: bool) -> Self {
        let migrations = Placement::migrations();
        let tables = ModuleDatabase::migrated(database.db.clone(), "placement", &migrations).await;
        let server = TestServer::new(Some(Arc::new(tables.unwrap())));
        let bench = Self::beside(&server, is_enforced);
        bench.at("2026-01-30T12:00:00Z");
        bench
    }

    /// The same server, with the switch as it is told.
    pub fn beside(server: &TestServer, is_enforced: bool) -> Self {
        let handle = server.server("placement");
        let router = http::router_of(Desk {
            server: handle.clone(),
            is_enforced,
        });
        let client = TestClient {
            router,
            context: operator(),
        };
        Self {
            server: server.clone(),
            client,
            handle,
        }
    }

    pub async fn send(&self, method: &str, path: &str, body: Value) -> TestResponse {
        let path = format!("{BUDGETS}{path}");
        self.client.json(method, &path, &body).await.unwrap()
    }

    /// A body as it is written.
    pub async fn raw(&self, method: &str, path: &str, body: &str) -> TestResponse {
        let request = ::http::Request::builder()
            .method(method)
            .uri(format!("{BUDGETS}{path}"))
            .header("content-type", "application/json")
            .body(Bytes::from(body.to_owned()))
            .unwrap();
        self.client.send(request).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = self.send("GET", path, Value::Null).await;
        assert_eq!(answer.status, 200, "{:?}", answer.json());
        answer.json()
    }

    pub async fn post(&self, path: &str) -> TestResponse {
        self.send("POST", path, Value::Null).await
    }

    pub async fn set(&self, product: &str, body: Value) -> Value {
        let answer = self.send("PUT", &format!("/{product}"), body).await;
        assert!([200, 201].contains(&answer.status), "{:?}", answer.json());
        answer.json()
    }

    /// What it answered with the sums after it.
    pub async fn spend(&self, product: &str, body: Value) -> Value {
        let path = format!("/{product}/spend");
        let answer = self.send("POST", &path, body).await;
        assert_eq!(answer.status, 200, "{:?}", answer.json());
        answer.json()
    }

    pub async fn commit(&self, batch: Batch) -> Result<(), ServerError> {
        let context = self.handle.own_context();
        self.handle.db().commit(&context, batch).await
    }

    /// Sets the clock.
    pub fn at(&self, time: &str) {
        let at = time.parse::<jiff::Timestamp>().unwrap();
        self.server.state().now_us = at.as_microsecond();
    }

    pub fn code(answer: &TestResponse) -> (u16, String) {
        let code = answer.json()["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (answer.status, code)
    }
}

/// Spent, reserved, remaining, and by whom it is paused.
pub fn sums(budget: &Value) -> (&str, &str, &str, &str) {
    let text = |name: &str| budget[name].as_str().unwrap_or("-");
    (
        text("spent_usd"),
        text("reserved_usd"),
        text("remaining_usd"),
        text("paused_by"),
    )
}
