//! A schedules module on a test host: real database, a clock the test moves, and bulk and groups modules that remember what
//! they were asked. Its loops run only where a test asks for them: otherwise a test calls their passes itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleetwright_module_schedules::actions::launch::{Launched, launch_waiting};
use fleetwright_module_schedules::actions::{fire, follow};
use fleetwright_module_schedules::{Schedules, http};
use fleetwright_plugin_api::sdk::testing::{TestClient, TestResponse, TestServer, operator};
use fleetwright_plugin_api::sdk::{
    Bytes, CallError, Module as _, Payload, Problem, Server, ServerError, Violation,
};
use fleetwright_server::modules::testing::ModuleDatabase;
use fleetwright_tests::databases::TestDatabase;
use serde_json::{Value, json};
use uuid::Uuid;

pub const SCHEDULES: &str = "/api/v1/fleet/schedules";
pub const MINUTE: Duration = Duration::from_secs(60);

/// A bulk module of a test.
#[derive(Default)]
pub struct Operations {
    /// Id, the principal it was created as, and its request; in the order of creation.
    pub created: Vec<(Uuid, String, Value)>,
    pub statuses: BTreeMap<Uuid, String>,
    pub cancelled: Vec<Uuid>,
    /// Every call of `create`, also of those that created nothing.
    pub asked: usize,
    /// The next launches are refused with this, created or not.
    pub failure: Option<CallError>,
    /// The next launches are created, but the answer is lost.
    pub lose_answers: bool,
}

pub struct Bench {
    pub server: TestServer,
    pub client: TestClient,
    pub handle: Server,
    pub operations: Arc<Mutex<Operations>>,
}

impl Bench {
    pub async fn start(database: &TestDatabase) -> Self {
        let db = database.db.clone();
        let tables = ModuleDatabase::migrated(db, "schedules", &Schedules::migrations()).await;
        let server = TestServer::new(Some(Arc::new(tables.unwrap())));
        let operations = Arc::new(Mutex::new(Operations::default()));
        install(&server, &operations);
        let handle = server.server("schedules");
        let client = TestClient {
            router: http::router(handle.clone()),
            context: operator(),
        };
        Self {
            server,
            client,
            handle,
            operations,
        }
    }

    /// The same server, asked by somebody else.
    pub fn as_principal(&self, principal: &str) -> Self {
        let mut client = self.client.clone();
        client.context.principal = principal.to_owned();
        Self {
            server: self.server.clone(),
            client,
            handle: self.handle.clone(),
            operations: self.operations.clone(),
        }
    }

    pub async fn send(&self, method: &str, path: &str, body: Value) -> TestResponse {
        let path = format!("{SCHEDULES}{path}");
        self.client.json(method, &path, &body).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> TestResponse {
        self.send("GET", path, Value::Null).await
    }

    pub async fn put_if(&self, id: Uuid, tag: &str, body: &Value) -> TestResponse {
        let request = ::http::Request::builder()
            .method("PUT")
            .uri(format!("{SCHEDULES}/{id}"))
            .header("content-type", "application/json")
            .header("if-match", tag)
            .body(Bytes::from(body.to_string()))
            .unwrap();
        self.client.send(request).await.unwrap()
    }

    /// Creates a schedule with these fields beside the valid ones.
    pub async fn create(&self, fields: Value) -> Uuid {
        let answer = self.send("POST", "", body(fields)).await;
        assert_eq!(answer.status, 201, "{:?}", answer.json());
        answer.json()["id"].as_str().unwrap().parse().unwrap()
    }

    pub async fn shown(&self, id: Uuid) -> Value {
        let answer = self.get(&format!("/{id}")).await;
        assert_eq!(answer.status, 200);
        answer.json()
    }

    pub async fn runs(&self, id: Uuid) -> Vec<Value> {
        let answer = self.get(&format!("/{id}/runs")).await.json();
        answer["items"].as_array().unwrap().clone()
    }

    /// The statuses of the runs, oldest first.
    pub async fn statuses(&self, id: Uuid) -> Vec<String> {
        let runs = self.runs(id).await;
        let statuses = runs.iter().rev();
        statuses
            .map(|run| run["status"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Sets the clock.
    pub fn at(&self, time: &str) {
        let at = time.parse::<jiff::Timestamp>().unwrap();
        self.server.state().now_us = at.as_microsecond();
    }

    pub async fn fire(&self) {
        fire::fire_due(&self.handle).await.unwrap();
    }

    /// Launches until nothing moves any more.
    pub async fn launch(&self) -> Launched {
        loop {
            match launch_waiting(&self.handle).await.unwrap() {
                Launched::Progress => {}
                settled => return settled,
            }
        }
    }

    pub async fn fire_and_launch(&self) {
        self.fire().await;
        self.launch().await;
    }

    pub async fn follow(&self) {
        follow::follow_all(&self.handle, 10).await.unwrap();
    }

    pub fn created(&self) -> Vec<Uuid> {
        let operations = self.operations.lock().unwrap();
        operations.created.iter().map(|(id, ..)| *id).collect()
    }

    pub fn end(&self, id: Uuid, status: &str) {
        let mut operations = self.operations.lock().unwrap();
        assert!(operations.statuses.insert(id, status.to_owned()).is_some());
    }

    pub fn code(answer: &TestResponse) -> (u16, String) {
        let code = answer.json()["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (answer.status, code)
    }
}

/// A valid schedule with these fields in place of its own; null leaves one out.
pub fn body(fields: Value) -> Value {
    let mut body = json!({
        "name": "nightly",
        "cron": "0 * * * *",
        "operation_type": "run_script",
        "parameters": {"script": "echo hi"},
        "selector": {"tags": ["web"]},
    });
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn install(server: &TestServer, operations: &Arc<Mutex<Operations>>) {
    server.on_invoke("groups", "stored", |_context, payload| {
        stored(&payload.json["selector"])
    });
    server.on_invoke("bulk", "check", |_context, payload| {
        check(&payload.json["request"])
    });
    let shared = Arc::clone(operations);
    server.on_invoke("bulk", "create", move |context, payload| {
        let mut operations = shared.lock().unwrap();
        operations.asked += 1;
        let id: Uuid = payload.json["id"].as_str().unwrap().parse().unwrap();
        if let Some(status) = operations.statuses.get(&id) {
            return Ok(Payload::json(json!({"id": id, "status": status})));
        }
        if let Some(failure) = &operations.failure {
            return Err(failure.clone());
        }
        let request = payload.json["request"].clone();
        operations.created.push((id, context.principal, request));
        operations.statuses.insert(id, "queued".to_owned());
        if operations.lose_answers {
            return Err(ServerError::Unavailable("killed".to_owned()).into());
        }
        Ok(Payload::json(json!({"id": id, "status": "queued"})))
    });
    let shared = Arc::clone(operations);
    server.on_invoke("bulk", "status", move |_context, payload| {
        let operations = shared.lock().unwrap();
        let ids = payload.json["ids"].as_array().unwrap().iter();
        let found = ids.filter_map(|id| {
            let status = operations.statuses.get(&id.as_str()?.parse().ok()?)?;
            Some(json!({"id": id, "status": status}))
        });
        Ok(Payload::json(
            json!({"operations": found.collect::<Vec<_>>()}),
        ))
    });
    let shared = Arc::clone(operations);
    server.on_invoke("bulk", "cancel", move |_context, payload| {
        let mut operations = shared.lock().unwrap();
        let id: Uuid = payload.json["id"].as_str().unwrap().parse().unwrap();
        operations.cancelled.push(id);
        operations.statuses.insert(id, "cancelled".to_owned());
        Ok(Payload::json(json!({"id": id, "status": "cancelled"})))
    });
}

/// Keeps `groups` by id: the name `web` is group 7.
fn stored(selector: &Value) -> Result<Payload, CallError> {
    let names = selector["groups"].as_array().cloned().unwrap_or_default();
    let id = Uuid::from_u128(7);
    if let Some(position) = names
        .iter()
        .position(|name| name != "web" && *name != json!(id))
    {
        let pointer = format!("/groups/{position}");
        let violation = Violation::new(pointer, "group-unknown", "no such group");
        return Err(Problem::invalid(vec![violation]).into());
    }
    if names.is_empty() {
        return Ok(Payload::json(
            json!({"selector": selector, "group_ids": []}),
        ));
    }
    let kept = json!({"groups": [id]});
    Ok(Payload::json(json!({"selector": kept, "group_ids": [id]})))
}

fn check(request: &Value) -> Result<Payload, CallError> {
    let mut found = Vec::new();
    if request["operation_type"] != "run_script" {
        found.push(Violation::new(
            "/operation_type",
            "operation-type-unknown",
            "unknown",
        ));
    }
    if request
        .get("timeout_seconds")
        .is_some_and(|seconds| *seconds == 0)
    {
        found.push(Violation::new(
            "/timeout_seconds",
            "operation-timeout-invalid",
            "too short",
        ));
    }
    if found.is_empty() {
        return Ok(Payload::json(json!({})));
    }
    Err(Problem::invalid(found).into())
}
