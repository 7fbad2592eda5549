//! What docs/jobs.md says: its table is the one that decides, and its example works as it stands.

use std::collections::BTreeMap;

use fleetwright_module_placement::jobs::decide::table;
use fleetwright_module_placement::{Placement, http};
use fleetwright_plugin_api::sdk::Module as _;
use fleetwright_plugin_api::sdk::testing::{TestClient, TestServer, operator};
use fleetwright_server::modules::testing::ModuleDatabase;
use fleetwright_tests::on_each_database;
use serde_json::Value;

const DOCUMENT: &str = include_str!("../../../../docs/jobs.md");

#[test]
fn the_document_holds_the_table_that_decides() {
    let (_, rest) = DOCUMENT.split_once("<!-- stages -->\n").unwrap();
    let (shown, _) = rest.split_once("<!-- /stages -->").unwrap();
    assert_eq!(shown, table::markdown());
}

on_each_database! {
    async fn the_example_of_the_document_ships_its_job(database: TestDatabase) {
        let migrations = Placement::migrations();
        let tables = ModuleDatabase::migrated(database.db.clone(), "placement", &migrations).await;
        let server = TestServer::new(Some(std::sync::Arc::new(tables.unwrap())));
        let router = http::router(&server.server("placement"));
        let client = TestClient { router, context: operator() };
        let mut variables: BTreeMap<String, String> = BTreeMap::new();
        let mut stages = Vec::new();
        let parts: Vec<&str> = DOCUMENT.split("curl -s -X ").collect();
        for pair in parts.windows(2) {
            let filled = variables.iter().fold(pair[1].to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value));
            let (method, rest) = filled.split_once(" https://fleet.example.com").unwrap();
            let (path, rest) = rest.split_once(' ').unwrap();
            let (_, rest) = rest.split_once("-d '").unwrap();
            let (body, rest) = rest.split_once('\'').unwrap();
            let body: Value = serde_json::from_str(body).unwrap();
            let answer = client.json(method, path, &body).await.unwrap();
            assert!(answer.status < 300, "{method} {path}: {:?}", answer.json());
            let answer = answer.json();
            stages.extend(answer["stage"].as_str().map(str::to_owned));
            let name = pair[0].rsplit('\n').next().unwrap().strip_suffix("=$(");
            if let Some(name) = name {
                let (field, _) = rest.strip_prefix(" | jq -r .").unwrap().split_once(')').unwrap();
                let value = &answer[field];
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                variables.insert(name.to_owned(), value);
            }
        }
        assert_eq!(stages, ["queued", "assigned", "building", "shipped"]);
        assert_eq!(variables.len(), 3);
    }
}
