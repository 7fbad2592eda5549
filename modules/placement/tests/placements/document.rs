//! The example of the page for users, request by request, with the answers that stand there.

use fleetwright_plugin_api::sdk::HostId;
use fleetwright_plugin_api::sdk::testing::{host_record, node_capacity};
use fleetwright_tests::on_each_database;
use serde_json::Value;
use uuid::Uuid;

use crate::support::{Bench, FLEET};

const PAGE: &str = include_str!("../../../../docs/placement.md");
/// The placement's id, as the page shows it.
const SHOWN: &str = "0197a2b4-9c1e-7d30-8a55-6f2f0a9b4c11";
/// Another at each run.
const VARIES: [&str; 5] = ["id", "created_at", "created_by", "expires_at", "vm_id"];

/// The fenced blocks of the example, with their languages.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let (_, example) = PAGE.split_once("## An example\n").unwrap();
    let (example, _) = example.split_once("The same on the command line").unwrap();
    let fences: Vec<&str> = example.split("```").skip(1).step_by(2).collect();
    fences
        .iter()
        .map(|block| block.split_once('\n').unwrap())
        .collect()
}

/// Method, path and body of a `curl`.
fn request(command: &str) -> (&str, &str, Value) {
    let (_, rest) = command.split_once("-X ").unwrap();
    let (method, rest) = rest.split_once(" https://fleet.example.com").unwrap();
    let (path, rest) = rest.split_once(' ').unwrap();
    let body = rest
        .split_once("-d '")
        .map(|(_, body)| body.rsplit_once('\'').unwrap().0);
    (
        method,
        path,
        body.map_or(Value::Null, |body| serde_json::from_str(body).unwrap()),
    )
}

on_each_database! {
    async fn the_example_of_the_document_goes_as_it_says(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        for (number, available_mb) in [(1, 4_096), (2, 1_024)] {
            let host: Uuid = format!("0197a2a0-0000-7000-8000-00000000000{number}").parse().unwrap();
            bench.server.put_host(host_record(HostId(host)));
            bench.server.put_capacity(HostId(host), node_capacity(available_mb, 8));
        }
        bench.follow().await;
        let (mut id, mut asked, mut answer) = (String::new(), 0, None);
        for (language, text) in blocks() {
            if language == "sh" {
                let (method, path, body) = request(text);
                let path = path.replace(SHOWN, &id);
                assert!(path.starts_with(FLEET), "{path}");
                let told = bench.client.json(method, &path, &body).await.unwrap();
                if let Some(new) = told.json()["id"].as_str() {
                    new.clone_into(&mut id);
                }
                asked += 1;
                answer = Some(told);
                continue;
            }
            let told = answer.take().unwrap().json();
            let shown: Value = serde_json::from_str(text).unwrap();
            for (name, value) in shown.as_object().unwrap() {
                if VARIES.contains(&name.as_str()) {
                    assert!(told[name].is_string(), "{name}: {told}");
                } else {
                    assert_eq!(&told[name], value, "{name}: {told}");
                }
            }
        }
        assert_eq!((asked, answer.unwrap().status), (4, 204));
        assert_eq!(bench.held().await, 0);
    }
}
