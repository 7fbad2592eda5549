//! Submitting jobs: one, a tree, the same again, and what is refused.

use fleetwright_tests::on_each_database;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::kept;
use crate::support::{Bench, JOBS, child, id};

/// Pointers and codes of what is wrong.
fn wrong(answer: &Value) -> Vec<(String, String)> {
    let errors = answer["errors"].as_array().cloned().unwrap_or_default();
    let text = |error: &Value, name: &str| error[name].as_str().unwrap().to_owned();
    errors
        .iter()
        .map(|error| (text(error, "pointer"), text(error, "code")))
        .collect()
}

on_each_database! {
    async fn a_job_has_its_defaults_and_one_key_creates_one_job(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let answer = bench.send("POST", "", json!({"idempotency_key": "a", "body_md": "do"})).await;
        assert_eq!(answer.status, 201, "{:?}", answer.json());
        let made = answer.json();
        assert_eq!(answer.headers["location"], format!("{JOBS}/{}", id(&made)));
        for (field, value) in [
            ("stage", json!("queued")), ("kind", json!("task")), ("priority", json!("normal")), ("max_attempts", json!(3)),
            ("product_id", json!("default")), ("attempts", json!(0)), ("lease_epoch", json!(0)), ("estimate_usd", json!("0")),
        ] {
            assert_eq!(made[field], value, "{field}");
        }
        assert_eq!(bench.server.state().audits.len(), 1);
        // The same in the other spelling, with a default written out.
        let again = bench.send("POST", "", json!({"idempotencyKey": "a", "bodyMd": "do", "kind": "task"})).await;
        assert_eq!((again.status, id(&again.json())), (200, id(&made)));
        let other = bench.send("POST", "", json!({"idempotency_key": "a", "body_md": "else"})).await;
        assert_eq!(other.status, 422);
        assert_eq!(wrong(&other.json()), [("/idempotency_key".to_owned(), "idempotency-key-reused".to_owned())]);
        assert_eq!(bench.get("/counts").await["totals"], json!({"queued": 1}));
        kept::check(&bench.handle).await;
        let shown = bench.get(&format!("/{}", id(&made))).await;
        assert_eq!((&shown["body_md"], &shown["events"][0]["type"]), (&json!("do"), &json!("submitted")));
    }

    async fn the_tree_of_the_documents_ships_when_its_children_have(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let parent = bench.submit(json!({"idempotencyKey": "parent-job", "kind": "composite", "children": [
            {"idempotencyKey": "child-1", "bodyMd": "one"}, {"idempotencyKey": "child-2", "bodyMd": "two"},
        ]})).await;
        assert_eq!((&parent["stage"], &parent["waits_for"]), (&json!("blocked"), &json!(2)));
        let more = json!({"children": [{"idempotencyKey": "child-3", "bodyMd": "three"}]});
        let path = format!("/{}/children", id(&parent));
        let added = bench.send("POST", &path, more.clone()).await;
        assert_eq!(added.status, 201, "{:?}", added.json());
        assert_eq!(added.json()["waits_for"], 3);
        assert_eq!(bench.send("POST", &path, more).await.status, 200, "they are there");
        let dag = bench.get(&format!("/{}/dag", id(&parent))).await;
        assert_eq!(dag["nodes"].as_array().unwrap().len(), 4);
        let edges = dag["edges"].as_array().unwrap();
        assert!(edges.iter().all(|edge| edge["from"] == parent["id"] && edge["kind"] == "child"), "{edges:?}");
        assert_eq!((edges.len(), &dag["truncated"]), (3, &json!(false)));
        for (key, of) in [("child-1", &parent), ("child-2", &parent), ("child-3", &added.json())] {
            assert_eq!(bench.stage(id(&parent)).await, "blocked");
            bench.ship(child(of, key)).await;
        }
        assert_eq!(bench.stage(id(&parent)).await, "shipped");
        kept::check(&bench.handle).await;
    }

    async fn what_cannot_be_is_refused_whole_with_its_place(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let parent = bench.submit(json!({"idempotency_key": "p", "children": [{"idempotency_key": "c"}]})).await;
        let cases = [
            ("", json!({}), vec![("/idempotency_key", "missing-field")]),
            ("", json!({"idempotency_key": "x", "priority": "urgent", "max_attempts": 0, "colour": 1, "estimate_usd": "1.0000001"}),
             vec![("/colour", "unknown-field"), ("/priority", "job-priority-invalid"), ("/max_attempts", "job-attempts-invalid"),
                  ("/estimate_usd", "job-estimate-invalid")]),
            ("", json!({"idempotency_key": "x", "depends_on": [Uuid::from_u128(5), "nobody"]}),
             vec![("/depends_on/0", "job-dependency-unknown"), ("/depends_on/1", "job-dependency-unknown")]),
            ("", json!({"idempotency_key": "x", "depends_on": ["x"]}), vec![("/depends_on", "job-cycle")]),
            ("", json!({"idempotency_key": "x", "children": [
                {"idempotency_key": "y", "depends_on": ["z"]}, {"idempotency_key": "z", "depends_on": ["y"]}]}),
             vec![("/children/0/depends_on", "job-cycle")]),
            ("", json!({"idempotency_key": "x", "children": [{"idempotency_key": "c"}, {"idempotency_key": "y"}, {"idempotency_key": "y"}]}),
             vec![("/children/0/idempotency_key", "idempotency-key-reused"), ("/children/2/idempotency_key", "job-key-repeated")]),
            ("/children", json!({"children": [{"idempotency_key": "x", "depends_on": [parent["id"]]}]}),
             vec![("/children/0/depends_on/0", "job-cycle")]),
            ("/children", json!({"children": []}), vec![("/children", "job-children-invalid")]),
        ];
        for (path, body, expected) in cases {
            let path = if path.is_empty() { String::new() } else { format!("/{}{path}", id(&parent)) };
            let answer = bench.send("POST", &path, body.clone()).await;
            assert_eq!(answer.status, 422, "{body}");
            let found = wrong(&answer.json());
            let found: Vec<(&str, &str)> = found.iter().map(|(at, code)| (at.as_str(), code.as_str())).collect();
            assert_eq!(found, expected, "{body}");
        }
        assert_eq!(bench.get("").await["items"].as_array().unwrap().len(), 2, "nothing was stored");
        kept::check(&bench.handle).await;
    }

    async fn a_tenant_sees_and_waits_for_its_own_alone(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let (one, two) = (bench.of_tenant("one"), bench.of_tenant("two"));
        let made = one.task("same").await;
        let other = two.task("same").await;
        assert_ne!(made, other, "keys are a tenant's own");
        let path = format!("/{made}");
        for (method, path, body) in [
            ("GET", path.clone(), Value::Null),
            ("GET", format!("{path}/dag"), Value::Null),
            ("GET", format!("{path}/events"), Value::Null),
            ("PATCH", path.clone(), json!({"lease_epoch": 0})),
            ("POST", format!("{path}/cancel"), Value::Null),
            ("POST", format!("{path}/requeue"), Value::Null),
            ("POST", format!("{path}/reject"), Value::Null),
            ("POST", format!("{path}/ship"), Value::Null),
            ("POST", format!("{path}/artifacts"), json!({"lease_epoch": 0, "name": "a"})),
            ("POST", format!("{path}/runs"), json!({"lease_epoch": 0, "outcome": "a"})),
            ("POST", format!("{path}/children"), json!({"children": [{"idempotency_key": "n"}]})),
            ("POST", format!("{path}/waive"), json!({"dependency": other})),
        ] {
            assert_eq!(two.told(method, &path, body).await.0, 404, "{method} {path}");
        }
        let named = json!({"idempotency_key": "waits", "depends_on": [made]});
        assert_eq!(two.told("POST", "", named.clone()).await.0, 422);
        assert_eq!(bench.told("POST", "", named).await.0, 422, "nor does nobody's job wait for a tenant's");
        assert_eq!(two.get("").await["items"].as_array().unwrap().len(), 1);
        assert_eq!(bench.get("").await["items"].as_array().unwrap().len(), 2);
        assert_eq!(one.get("/counts").await["totals"], json!({"queued": 1}));
    }

    async fn a_large_tree_is_taken_and_more_than_ten_thousand_are_not(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let children = |count: usize| -> Vec<Value> {
            (0..count).map(|number| json!({"idempotency_key": format!("c{number}")})).collect()
        };
        let tree = |count| json!({"idempotency_key": "p", "children": children(count)});
        assert_eq!(bench.told("POST", "", tree(10_000)).await.0, 422);
        let parent = bench.submit(tree(1_500)).await;
        assert_eq!(parent["waits_for"], 1_500);
        kept::check(&bench.handle).await;
        let dag = bench.get(&format!("/{}/dag", id(&parent))).await;
        assert_eq!(dag["nodes"].as_array().unwrap().len(), 1_501);
        assert_eq!(dag["truncated"], false);
    }

    async fn pages_follow_each_other_by_stage_and_product(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        for number in 0..5 {
            let product = if number % 2 == 0 { "even" } else { "odd" };
            bench.submit(json!({"idempotency_key": format!("k{number}"), "product_id": product})).await;
        }
        let mut keys = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = bench.get(&format!("?stage=queued&product_id=even&limit=2{cursor}")).await;
            let items = page["items"].as_array().unwrap();
            keys.extend(items.iter().map(|job| job["idempotency_key"].as_str().unwrap().to_owned()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        // The clock of a test stands, so that ids of one moment are in no order.
        keys.sort_unstable();
        assert_eq!(keys, ["k0", "k2", "k4"]);
        assert_eq!(bench.told("GET", "?stage=nowhere", Value::Null).await.0, 422);
        assert_eq!(bench.get("/counts?product_id=odd").await["items"][0]["total"], 2);
    }
}
