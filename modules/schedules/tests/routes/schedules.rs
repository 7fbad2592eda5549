//! Schedules through their routes, on both databases.

use fleetwright_module_schedules::invoke::invoke;
use fleetwright_plugin_api::sdk::{CallError, Payload};
use fleetwright_plugin_api::wire::BLOBS_IN_USE;
use fleetwright_tests::on_each_database;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Bench, MINUTE, SCHEDULES, body};

fn pointers(answer: &Value) -> Vec<(String, String)> {
    let errors = answer["errors"].as_array().cloned().unwrap_or_default();
    let text = |error: &Value, name: &str| error[name].as_str().unwrap().to_owned();
    errors
        .iter()
        .map(|error| (text(error, "pointer"), text(error, "code")))
        .collect()
}

on_each_database! {
    async fn a_new_schedule_is_armed_and_shown_as_it_was_asked(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let asked = body(json!({
            "cron": "30 2 * * mon-FRI", "timezone": "europe/berlin", "overlap_policy": "replace", "misfire_policy": "skip",
            "starts_at": "2026-02-01T00:00:00Z", "ends_at": "2026-03-01T01:00:00+01:00",
            "selector": {"groups": ["web"]}, "options": {"timeout_seconds": 60},
        }));
        let answer = bench.send("POST", "", asked).await;
        assert_eq!(answer.status, 201, "{:?}", answer.json());
        let made = answer.json();
        let id = made["id"].as_str().unwrap();
        assert_eq!(answer.headers["location"], format!("{SCHEDULES}/{id}"));
        assert_eq!(answer.headers["etag"], "\"1\"");
        assert_eq!((&made["timezone"], &made["enabled"]), (&json!("Europe/Berlin"), &json!(true)));
        assert_eq!(made["next_run_at"], "2026-02-02T01:30:00.000Z");
        assert_eq!((&made["kind"], &made["last_status"]), (&json!("bulk"), &Value::Null));
        assert_eq!(made["ends_at"], "2026-03-01T00:00:00.000Z");
        assert_eq!(made["selector"], json!({"groups": [Uuid::from_u128(7)]}));
        assert_eq!(made["created_by"], json!({"id": "user:test", "name": "test"}));
        {
            let state = bench.server.state();
            assert_eq!(state.audits.len(), 1);
            assert_eq!(state.audits[0].action, "schedule.create");
            assert!(!state.audits[0].detail.to_string().contains("echo hi"), "scripts are not in the audit log");
            assert_eq!((state.responses[0].status, state.responses[0].body.as_bytes()), (201, &answer.body[..]));
        }
        let shown = bench.shown(id.parse().unwrap()).await;
        assert_eq!(shown, made);
        let listed = bench.get("").await.json();
        assert_eq!(listed["items"].as_array().unwrap().len(), 1);
        assert_eq!(listed["items"][0]["name"], "nightly");
        assert!(listed["items"][0].get("parameters").is_none(), "lists do not show scripts");
    }

    async fn content_that_a_schedule_needs_is_told_for_all_digests_at_once(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let digest = |number: u64| format!("{number:064x}");
        let file = |number| json!({"path": "/x", "blob_sha256": digest(number)});
        // The bench's other modules know scripts alone; what is looked for is in the parameters.
        bench.create(json!({"parameters": file(7)})).await;
        let rollback = json!({"rollback": {"operation_type": "deploy_file", "parameters": file(8)}});
        bench.create(json!({"name": "second", "options": rollback})).await;
        // Text that looks like a digest is none.
        let script = json!({"script": format!("echo {}", digest(9))});
        bench.create(json!({"name": "third", "parameters": script})).await;
        let asked: Vec<String> = (0..500).map(digest).collect();
        let asked = Payload::json(json!({"sha256": asked}));
        let answer = invoke(&bench.handle, BLOBS_IN_USE, asked).await.unwrap().json;
        let mut found: Vec<String> = serde_json::from_value(answer["in_use"].clone()).unwrap();
        found.sort_unstable();
        assert_eq!(found, [digest(7), digest(8)]);
        let nothing = Payload::json(json!({"sha256": []}));
        let answer = invoke(&bench.handle, BLOBS_IN_USE, nothing).await.unwrap().json;
        assert_eq!(answer, json!({"in_use": []}));
    }

    async fn everything_wrong_with_a_schedule_is_said_at_once_and_nothing_is_stored(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let asked = json!({
            "name": "", "cron": "61 * * * *", "timezone": "Mars/Base", "kind": "batch", "overlap_policy": "sometimes",
            "misfire_policy": "never", "jitter_seconds": -1, "starts_at": "2026-02-01T00:00:00Z",
            "ends_at": "2026-01-01T00:00:00Z", "operation_type": "dance", "selector": {"groups": ["x"]},
            "options": {"timeout_seconds": 0}, "crom": 1, "created_by": "me",
        });
        let answer = bench.send("POST", "", asked).await;
        assert_eq!(Bench::code(&answer), (422, "unknown-field".to_owned()));
        let expected = [
            ("/created_by", "unknown-field"), ("/crom", "unknown-field"),
            ("/name", "schedule-name-invalid"), ("/cron", "cron-invalid"), ("/timezone", "schedule-timezone-unknown"),
            ("/ends_at", "schedule-bounds-invalid"), ("/jitter_seconds", "schedule-jitter-invalid"),
            ("/kind", "schedule-kind-invalid"), ("/overlap_policy", "schedule-overlap-policy-invalid"),
            ("/misfire_policy", "schedule-misfire-policy-invalid"),
            ("/selector/groups/0", "group-unknown"), ("/operation_type", "operation-type-unknown"),
            ("/options/timeout_seconds", "operation-timeout-invalid"),
        ];
        let expected = expected.map(|(pointer, code)| (pointer.to_owned(), code.to_owned()));
        assert_eq!(pointers(&answer.json()), expected);
        assert!(bench.server.state().audits.is_empty());
        assert_eq!(bench.get("").await.json()["items"], json!([]));
    }

    async fn the_example_of_the_document_is_taken(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.server.on_invoke("rolling", "check", |_context, payload| Ok(payload));
        let document = include_str!("../../../../docs/schedules.md");
        let (_, after) = document.split_once("-d '").unwrap();
        let (example, _) = after.split_once("'\n").unwrap();
        let answer = bench.send("POST", "", serde_json::from_str(example).unwrap()).await;
        assert_eq!(answer.status, 201, "{:?}", answer.json());
    }

    async fn an_expression_is_refused_at_its_field(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let bad = ["* * * *", "* * * * * *", "61 * * * *", "*/0 * * * *", "5-1 * * * *", "0 0 30 2 *", "@reboot", "", " "];
        for cron in bad {
            for path in ["", "/preview"] {
                let asked = if path.is_empty() { body(json!({"cron": cron})) } else { json!({"cron": cron}) };
                let answer = bench.send("POST", path, asked).await;
                assert_eq!(Bench::code(&answer), (422, "cron-invalid".to_owned()), "{cron} {path}");
                assert_eq!(answer.json()["errors"][0]["pointer"], "/cron");
            }
        }
        let answer = bench.send("POST", "", body(json!({"cron": "0 0 * * 8"}))).await;
        let detail = answer.json()["errors"][0]["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with("field 5 (day of week)"), "{detail}");
    }

    async fn what_would_be_launched_is_looked_at_when_it_is_saved(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let reserved = bench.send("POST", "", body(json!({"options": {"plan_only": true}}))).await;
        assert_eq!(pointers(&reserved.json()), [("/options/plan_only".to_owned(), "unknown-field".to_owned())]);
        // A module that is not there cannot launch.
        let rolling = bench.send("POST", "", body(json!({"kind": "rolling"}))).await;
        assert_eq!(rolling.status, 402);
    }

    async fn a_name_is_taken_once_in_any_case(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let first = bench.create(json!({})).await;
        let taken = bench.send("POST", "", body(json!({"name": "NIGHTLY"}))).await;
        assert_eq!(Bench::code(&taken), (409, "name-taken".to_owned()));
        let other = bench.create(json!({"name": "other"})).await;
        let taken = bench.send("PUT", &format!("/{other}"), body(json!({}))).await;
        assert_eq!(Bench::code(&taken), (409, "name-taken".to_owned()));
        let renamed = bench.send("PUT", &format!("/{first}"), body(json!({"name": "Nightly"}))).await;
        assert_eq!(renamed.status, 200);
        let found = bench.get("?name=OTHER").await.json();
        assert_eq!((found["items"].as_array().unwrap().len(), &found["items"][0]["id"]), (1, &json!(other)));
    }

    async fn a_replacement_needs_the_seen_revision_and_takes_the_schedule_over(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({})).await;
        let other = bench.as_principal("user:other");
        let asked = body(json!({"cron": "15 * * * *"}));
        let replaced = other.put_if(id, "\"1\"", &asked).await;
        assert_eq!((replaced.status, &replaced.headers["etag"]), (200, &"\"2\"".parse().unwrap()));
        let shown = bench.shown(id).await;
        assert_eq!(shown["next_run_at"], "2026-01-01T00:15:00.000Z");
        assert_eq!((&shown["owner"]["id"], &shown["created_by"]["id"]), (&json!("user:other"), &json!("user:test")));
        assert_eq!(Bench::code(&other.put_if(id, "\"1\"", &asked).await), (412, "precondition-failed".to_owned()));
        let unknown = bench.send("PUT", &format!("/{}", Uuid::from_u128(1)), json!({"cron": "x"})).await;
        assert_eq!(unknown.status, 404);
    }

    async fn a_replacement_that_changes_no_times_keeps_the_next_fire(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({})).await;
        bench.at("2026-01-01T01:00:00.5Z");
        let replaced = bench.send("PUT", &format!("/{id}"), body(json!({"parameters": {"script": "echo new"}}))).await;
        assert_eq!(replaced.json()["next_run_at"], "2026-01-01T01:00:00.000Z");
        bench.fire_and_launch().await;
        assert_eq!(bench.operations.lock().unwrap().created[0].2["parameters"]["script"], "echo new");
        // Nor does it forget the last one.
        let replaced = bench.send("PUT", &format!("/{id}"), body(json!({}))).await;
        let newest = ["last_run_at", "last_status"].map(|name| replaced.json()[name].clone());
        assert_eq!(newest, [json!("2026-01-01T01:00:00.500Z"), json!("queued")]);
    }

    async fn of_several_deletions_at_once_one_deletes_and_the_others_find_nothing(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        for _ in 0..10 {
            let id = bench.create(json!({})).await;
            let path = format!("/{id}");
            let delete = || bench.send("DELETE", &path, Value::Null);
            let answers = tokio::join!(delete(), delete(), delete(), delete());
            let mut statuses = [answers.0, answers.1, answers.2, answers.3].map(|answer| answer.status);
            statuses.sort_unstable();
            assert_eq!(statuses, [204, 404, 404, 404]);
        }
    }

    async fn a_name_no_schedule_can_have_finds_none(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.create(json!({})).await;
        for name in ["other", "", "%09", "%E2%80%AE", &"x".repeat(5_000)] {
            let answer = bench.get(&format!("?name={name}")).await;
            assert_eq!((answer.status, &answer.json()["items"]), (200, &json!([])), "{name}");
        }
    }

    async fn a_disabled_schedule_has_no_next_fire_and_makes_up_for_none(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({})).await;
        let path = format!("/{id}");
        let off = bench.send("PUT", &path, body(json!({"enabled": false}))).await;
        assert_eq!(off.json()["next_run_at"], Value::Null);
        bench.at("2026-01-01T05:30:00Z");
        bench.fire_and_launch().await;
        assert!(bench.runs(id).await.is_empty());
        assert_eq!(bench.get("?enabled=true").await.json()["items"], json!([]));
        let on = bench.send("PUT", &path, body(json!({}))).await;
        assert_eq!(on.json()["next_run_at"], "2026-01-01T06:00:00.000Z");
    }

    async fn a_deleted_schedule_is_gone_with_its_runs_and_fires_no_more(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({"selector": {"groups": ["web"]}})).await;
        bench.at("2026-01-01T01:00:00Z");
        bench.fire().await;
        assert_eq!(bench.send("DELETE", &format!("/{id}"), Value::Null).await.status, 204);
        bench.launch().await;
        assert!(bench.created().is_empty());
        for (method, path) in [("GET", format!("/{id}")), ("GET", format!("/{id}/runs")), ("DELETE", format!("/{id}")), ("POST", format!("/{id}/run"))] {
            assert_eq!(bench.send(method, &path, Value::Null).await.status, 404, "{method} {path}");
        }
        bench.at("2026-01-01T03:00:00Z");
        bench.fire_and_launch().await;
        assert!(bench.created().is_empty());
    }

    async fn schedules_that_name_a_group_are_told_to_who_would_delete_it(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({"selector": {"groups": ["web"]}})).await;
        bench.create(json!({"name": "other"})).await;
        let ask = async |group: u128| {
            let asked = Payload::json(json!({"group_id": Uuid::from_u128(group)}));
            invoke(&bench.handle, "naming_group", asked).await.unwrap().json
        };
        assert_eq!(ask(7).await, json!({"schedules": [{"id": id, "name": "nightly"}]}));
        assert_eq!(ask(8).await, json!({"schedules": []}));
        bench.send("PUT", &format!("/{id}"), body(json!({}))).await;
        assert_eq!(ask(7).await, json!({"schedules": []}));
        assert!(matches!(invoke(&bench.handle, "x", Payload::default()).await, Err(CallError::Server(_))));
    }

    async fn lists_page_without_gaps(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        for number in 0..5 {
            bench.create(json!({"name": format!("s{number}")})).await;
            bench.server.advance(MINUTE);
        }
        let mut names = Vec::new();
        let mut path = "?limit=2".to_owned();
        loop {
            let page = bench.get(&path).await.json();
            names.extend(page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()));
            match page["next_cursor"].as_str() {
                Some(cursor) => path = format!("?limit=2&cursor={cursor}"),
                None => break,
            }
        }
        assert_eq!(names, ["s0", "s1", "s2", "s3", "s4"]);
        assert_eq!(bench.get("?cursor=forged").await.status, 400);
    }

    async fn a_preview_gives_the_next_times_in_the_zone(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.at("2026-03-28T12:00:00Z");
        let asked = json!({"cron": "30 2 * * *", "timezone": "Europe/Berlin", "count": 3});
        let answer = bench.send("POST", "/preview", asked).await;
        assert_eq!(answer.status, 200);
        let times = ["2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z", "2026-03-31T00:30:00.000Z"];
        assert_eq!(answer.json()["times"], json!(times));
        let ten = bench.send("POST", "/preview", json!({"cron": "@daily"})).await.json();
        assert_eq!(ten["times"].as_array().unwrap().len(), 10);
        for (name, value) in [("count", json!(0)), ("count", json!(101)), ("timezone", json!("x")), ("kron", json!(1))] {
            let mut asked = json!({"cron": "@daily"});
            asked[name] = value;
            assert_eq!(bench.send("POST", "/preview", asked).await.status, 422, "{name}");
        }
        assert!(bench.server.state().audits.is_empty());
    }
}
