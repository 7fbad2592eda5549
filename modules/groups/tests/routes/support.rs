//! A groups module on a test host: real database, fake inventory.

pub mod meeting;

use std::sync::Arc;

use bytes::Bytes;
use fleetwright_module_groups::Groups;
use fleetwright_plugin_api::sdk::testing::{
    SqlBackend, TestClient, TestResponse, TestServer, host_record,
};
use fleetwright_plugin_api::sdk::{HostId, HostRecord, Module as _};
use fleetwright_server::modules::testing::ModuleDatabase;
use fleetwright_tests::databases::TestDatabase;
use serde_json::{Value, json};
use uuid::Uuid;

pub const SELECT: &str = "/api/v1/fleet/select";
pub const GROUPS: &str = "/api/v1/fleet/groups";

/// The module's tables as the server lends them, migrated.
pub async fn tables(database: &TestDatabase) -> Arc<dyn SqlBackend> {
    let tables =
        ModuleDatabase::migrated(database.db.clone(), "groups", &Groups::migrations()).await;
    Arc::new(tables.unwrap())
}

pub struct Bench {
    pub server: TestServer,
    pub client: TestClient,
    pub module: Groups,
}

impl Bench {
    pub async fn start(database: &TestDatabase) -> Self {
        Self::on(tables(database).await).await
    }

    pub async fn on(backend: Arc<dyn SqlBackend>) -> Self {
        let server = TestServer::new(Some(backend));
        let (module, client) = server.start::<Groups>("groups").await.unwrap();
        Self {
            server,
            client,
            module,
        }
    }

    pub fn put(&self, number: u128, change: impl FnOnce(&mut HostRecord)) {
        let mut record = host_record(host_id(number));
        record.platform = Some("linux".to_owned());
        record.fqdn = Some(format!("h{number}.example.com"));
        change(&mut record);
        self.server.put_host(record);
    }

    /// Hosts `from..to` with this tag.
    pub fn put_tagged(&self, numbers: std::ops::Range<u128>, tag: &str) {
        for number in numbers {
            self.put(number, |host| host.tags = vec![tag.to_owned()]);
        }
    }

    pub async fn send(&self, method: &str, path: &str, body: Value) -> TestResponse {
        self.client.json(method, path, &body).await.unwrap()
    }

    pub async fn send_with(
        &self,
        method: &str,
        path: &str,
        header: (&str, &str),
        body: Value,
    ) -> TestResponse {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(header.0, header.1)
            .header("content-type", "application/json")
            .body(Bytes::from(body.to_string()))
            .unwrap();
        self.client.send(request).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> TestResponse {
        self.send("GET", path, Value::Null).await
    }

    pub async fn select(&self, selector: Value) -> TestResponse {
        self.send("POST", SELECT, selector).await
    }

    /// The numbers of the hosts that are selected.
    pub async fn selected(&self, selector: Value) -> Vec<u128> {
        let answer = self.select(selector).await;
        assert_eq!(answer.status, 200, "{:?}", answer.json());
        numbers(&answer.json()["host_ids"])
    }

    /// Creates a group and gives its id.
    pub async fn create(&self, body: Value) -> String {
        let answer = self.send("POST", GROUPS, body).await;
        assert_eq!(answer.status, 201, "{:?}", answer.json());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub async fn named(&self, name: &str) -> String {
        self.create(json!({ "name": name })).await
    }

    pub async fn members(&self, id: &str, query: &str) -> Vec<u128> {
        let answer = self.get(&format!("{GROUPS}/{id}/hosts{query}")).await;
        assert_eq!(answer.status, 200, "{:?}", answer.json());
        let items = answer.json()["items"].as_array().unwrap().clone();
        items.iter().map(|item| number(&item["id"])).collect()
    }
}

pub fn host_id(number: u128) -> HostId {
    HostId(Uuid::from_u128(number))
}

pub fn text(number: u128) -> String {
    Uuid::from_u128(number).to_string()
}

pub fn numbers(ids: &Value) -> Vec<u128> {
    ids.as_array().unwrap().iter().map(number).collect()
}

fn number(id: &Value) -> u128 {
    id.as_str().unwrap().parse::<Uuid>().unwrap().as_u128()
}

/// Status, code and pointers of a problem.
pub fn problem(answer: &TestResponse) -> (u16, String, Vec<String>) {
    let body = answer.json();
    let pointers = body["errors"].as_array().into_iter().flatten();
    (
        answer.status,
        body["code"].as_str().unwrap_or_default().to_owned(),
        pointers
            .map(|error| error["pointer"].as_str().unwrap().to_owned())
            .collect(),
    )
}
