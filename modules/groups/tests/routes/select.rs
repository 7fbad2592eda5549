//! `POST /fleet/select` and the method other modules call.

use fleetwright_plugin_api::sdk::testing::operator;
use fleetwright_plugin_api::sdk::{CallError, Module as _, Payload};
use fleetwright_tests::on_each_database;
use serde_json::{Value, json};

use crate::support::{Bench, GROUPS, SELECT, host_id, problem, text};

on_each_database! {
    async fn a_selection_is_the_criteria_and_the_explicit_ids(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.put_tagged(1..4, "web");
        bench.put_tagged(4..6, "db");
        let selector = json!({"tags": ["web"], "platforms": ["linux"], "explicit_host_ids": [text(9), text(5)]});
        let answer = bench.select(selector).await.json();
        assert_eq!(crate::support::numbers(&answer["host_ids"]), [1, 2, 3, 5]);
        assert_eq!(answer["count"], 4);
        assert_eq!(answer["unknown_host_ids"], json!([text(9)]));
        assert!(answer["digest"].as_str().unwrap().starts_with("sha256:"));
        assert_eq!(answer.get("explain"), None);
        assert_eq!(bench.selected(json!({"expression": "tags = web and fqdn starts_with h3"})).await, [3]);
        assert_eq!(bench.selected(json!({"all_hosts": true})).await.len(), 5);
    }

    async fn an_evaluation_sees_every_change_acknowledged_before_it(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        for number in 1..30 {
            bench.put(number, |host| host.tags = vec!["web".to_owned()]);
            assert_eq!(bench.selected(json!({"tags": ["web"]})).await.len(), usize::try_from(number).unwrap());
        }
        bench.put(7, |_| {});
        bench.server.delete_host(host_id(8));
        let left = bench.selected(json!({"tags": ["web"]})).await;
        assert!(left.len() == 27 && !left.contains(&7) && !left.contains(&8), "{left:?}");
    }

    async fn options_are_parameters_of_the_query_only(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.put_tagged(1..4, "web");
        bench.put(4, |host| host.platform = None);
        let selector = json!({"platforms": ["linux"]});
        let path = format!("{SELECT}?explain=true&count_only=true");
        let answer = bench.send("POST", &path, selector.clone()).await.json();
        assert_eq!(answer.get("host_ids"), None);
        assert_eq!(answer["count"], 3);
        assert_eq!(answer["digest"], bench.select(selector).await.json()["digest"]);
        let explain = &answer["explain"][0];
        let counts = [&explain["matched"], &explain["not_matched"], &explain["unknown"]];
        assert_eq!(counts, [&json!(3), &json!(0), &json!(1)]);
        for option in ["explain", "count_only"] {
            let refused = bench.select(json!({"all_hosts": true, option: true})).await;
            let (status, code, pointers) = problem(&refused);
            assert_eq!((status, code.as_str()), (422, "unknown-field"));
            assert_eq!(pointers, [format!("/{option}")]);
        }
    }

    async fn when_a_host_was_last_seen_is_asked_when_it_matters(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.put_tagged(1..4, "web");
        bench.server.state().last_seen_us.insert(host_id(2), 1_700_000_000_000_000);
        let seen = json!({"expression": "last_seen_at gt \"2020-01-01T00:00:00Z\""});
        assert_eq!(bench.selected(seen.clone()).await, [2]);
        let group = bench.create(json!({"name": "seen", "selector": seen})).await;
        assert_eq!(bench.members(&group, "").await, [2]);
        // No revision of the inventory moves with it.
        bench.server.state().last_seen_us.insert(host_id(3), 1_700_000_000_000_000);
        assert_eq!(bench.members(&group, "").await, [2, 3]);
        assert_eq!(bench.selected(json!({"groups": ["seen"]})).await, [2, 3]);
    }

    async fn wrong_selectors_are_refused_with_their_places(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let cases = [
            (json!({}), 422, "selector-empty", ""),
            (json!({"tags": []}), 422, "selector-empty", "/tags"),
            (json!({"criteria": [{"field": "colour", "op": "equals", "value": "x"}]}), 422, "selector-field-unknown", "/criteria/0/field"),
            (json!({"explain": true, "all_hosts": true}), 422, "unknown-field", "/explain"),
            (json!({"groups": ["web", "nowhere"]}), 422, "group-unknown", "/groups/1"),
            (json!({"criteria": [{"not": {"field": "group", "op": "in", "value": ["web", "nowhere"]}}]}), 422, "group-unknown", "/criteria/0/not/value/1"),
            (json!({"expression": "group = nowhere"}), 422, "group-unknown", "/expression"),
        ];
        bench.named("web").await;
        for (selector, status, code, pointer) in cases {
            let answer = bench.select(selector.clone()).await;
            let told = (status, code.to_owned(), vec![pointer.to_owned()]);
            assert_eq!(problem(&answer), told, "{selector}");
        }
        let large = json!({"tags": ["x".repeat(70_000)]});
        assert_eq!(problem(&bench.select(large).await).0, 413);
        let array = bench.select(json!([])).await;
        assert_eq!(array.status, 422);
    }

    async fn another_module_gets_raw_ids(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.put_tagged(1..4, "web");
        let invoke = |json: Value| bench.module.invoke(operator(), "select".to_owned(), Payload::json(json));
        let selector = json!({"tags": ["web"]});
        let answer = invoke(json!({"selector": selector})).await.unwrap();
        let raw: Vec<u8> = (1..4).flat_map(|number| *host_id(number).as_bytes()).collect();
        assert_eq!(answer.blob, raw);
        assert_eq!(answer.json["count"], 3);
        let digest = answer.json["digest"].clone();
        assert!(invoke(json!({"selector": selector, "expected_digest": digest, "expected_count": 3})).await.is_ok());
        for (name, value) in [("expected_digest", json!("sha256:0")), ("expected_count", json!(2))] {
            let Err(CallError::Problem(problem)) = invoke(json!({"selector": selector, name: value})).await else {
                panic!("{name} was not checked");
            };
            assert_eq!((problem.status().as_u16(), problem.code()), (409, "selection-changed"));
        }
        let Err(CallError::Problem(problem)) = invoke(json!({"selector": {"groups": ["x"]}})).await else {
            panic!("an unknown group was selected");
        };
        assert_eq!((problem.status().as_u16(), problem.errors()[0].pointer.as_str()), (422, "/groups/0"));
    }

    async fn another_module_gets_the_form_in_which_it_keeps_a_selector(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({"name": "Web", "selector": {"tags": ["web"]}})).await;
        let invoke = |json: Value| bench.module.invoke(operator(), "stored".to_owned(), Payload::json(json));
        let answer = invoke(json!({"selector": {"expression": "group = web"}})).await.unwrap().json;
        assert_eq!(answer["group_ids"], json!([id]));
        assert!(answer["selector"].to_string().contains(&id.to_string()), "{answer}");
        let again = invoke(json!({"selector": answer["selector"]})).await.unwrap().json;
        assert_eq!(again, answer);
        let Err(CallError::Problem(problem)) = invoke(json!({"selector": {"groups": ["Web", "x"]}})).await else {
            panic!("an unknown group was stored");
        };
        assert_eq!((problem.status().as_u16(), problem.errors()[0].pointer.as_str()), (422, "/groups/1"));
    }

    async fn groups_are_selected_by_id_and_by_name(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.put_tagged(1..4, "web");
        bench.put_tagged(4..6, "db");
        let id = bench.create(json!({"name": "Web", "selector": {"tags": ["web"]}})).await;
        assert_eq!(bench.selected(json!({"groups": [id]})).await, [1, 2, 3]);
        assert_eq!(bench.selected(json!({"groups": ["web"]})).await, [1, 2, 3]);
        assert_eq!(bench.selected(json!({"expression": "not group = Web"})).await, [4, 5]);
        let gone = bench.send("DELETE", &format!("{GROUPS}/{id}"), Value::Null).await;
        assert_eq!(gone.status, 204);
        assert_eq!(bench.select(json!({"groups": ["Web"]})).await.status, 422);
    }
}
