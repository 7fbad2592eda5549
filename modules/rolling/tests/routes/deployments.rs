//! Deployments through the routes, on both databases.

use std::time::Duration;

use fleetwright_module_rolling::controller::pass;
use fleetwright_module_rolling::row::RollingKind;
use fleetwright_operations::prune;
use fleetwright_plugin_api::sdk::testing::TestResponse;
use fleetwright_plugin_api::sdk::{
    CommandStatus, CommandView, Module as _, Payload, SetAction, SetId,
};
use fleetwright_tests::on_each_database;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Bench, ROLLING, body, host_id, id_of};

fn refused(answer: &TestResponse) -> (u16, String) {
    (
        answer.status,
        answer.json()["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    )
}

on_each_database! {
    async fn a_new_deployment_freezes_its_hosts_in_a_held_set(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let answer = bench.post("", body(5, json!({"reason": "CVE-1", "timeout_seconds": 60}))).await;
        assert_eq!(answer.status, 202, "{:?}", answer.json());
        let accepted = answer.json();
        let id = id_of(&accepted);
        assert_eq!((&accepted["status"], &accepted["total"], &accepted["batch_count"]), (&json!("queued"), &json!(5), &json!(3)));
        assert_eq!(answer.headers["location"], format!("{ROLLING}/{id}"));
        let state = bench.server.state();
        let (create, hosts) = &state.created_sets[0];
        assert!(create.held && create.set_id == SetId(id));
        assert_eq!(*hosts, (0..5).map(host_id).collect::<Vec<_>>());
        assert_eq!((state.audits[0].action.as_str(), state.responses.len()), ("rolling.create", 1));
    }

    async fn batches_follow_each_other_and_the_trace_tells_it(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(5, json!({"failure_threshold_pct": 50})).await;
        for (released, failed) in [(2, 0), (2, 1), (1, 0)] {
            bench.finish(id, released, failed).await;
        }
        let done = bench.until(id, "the end", |seen| seen["status"] == "partial").await;
        assert_eq!((&done["current_batch"], &done["failure_pct"], &done["percent_complete"]), (&json!(3), &json!(20.0), &json!(100.0)));
        assert!(done["finished_at"].is_string());
        assert_eq!(bench.trace(id).await, ["queued running batch_dispatched", "running partial all_hosts_finished"]);
        let batches = bench.get(&format!("/{id}/batches")).await.json();
        let told: Vec<[u64; 4]> = batches["items"].as_array().unwrap().iter()
            .map(|batch| ["batch", "total", "succeeded", "failed"].map(|name| batch[name].as_u64().unwrap())).collect();
        assert_eq!(told, [[1, 2, 2, 0], [2, 2, 1, 1], [3, 1, 1, 0]]);
        assert!(batches["items"].as_array().unwrap().iter().all(|batch| batch["status"] == "finished"));
        let first = bench.get(&format!("/{id}/batches?limit=2")).await.json();
        let rest = bench.get(&format!("/{id}/batches?limit=2&cursor={}", first["next_cursor"].as_str().unwrap())).await.json();
        assert_eq!((rest["items"][0]["batch"].as_u64(), &rest["next_cursor"]), (Some(3), &Value::Null));
    }

    async fn the_failure_that_passes_the_threshold_halts_it(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(10, json!({"failure_threshold_pct": 10})).await;
        bench.finish(id, 2, 1).await;
        bench.finish(id, 2, 1).await;
        let done = bench.until(id, "the halt", |seen| seen["status"] == "failed").await;
        assert_eq!((&done["failed"], &done["skipped"], &done["current_batch"]), (&json!(2), &json!(6), &json!(2)));
        assert_eq!(bench.trace(id).await, ["queued running batch_dispatched", "running halting failure_threshold_passed", "halting failed drained"]);
        let state = bench.server.state();
        let last = &state.controls.last().unwrap().action;
        assert!(matches!(last, SetAction::Cancel { kill: false, hosts: None, reason } if reason == "halted"), "{last:?}");
    }

    async fn controls_follow_the_state(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(6, json!({"batch_delay_seconds": 60})).await;
        let control = async |name: &str, body: Value| bench.post(&format!("/{id}/{name}"), body).await;
        bench.until(id, "the first batch", |seen| seen["status"] == "running").await;
        assert_eq!(refused(&control("resume", Value::Null).await), (409, "invalid-transition".to_owned()));
        let early = control("approve", json!({"batch": 2})).await;
        assert_eq!(refused(&early), (409, "invalid-transition".to_owned()));
        assert!(early.json()["detail"].as_str().unwrap().contains("running"));
        bench.finish(id, 2, 0).await;
        bench.until(id, "the delay", |seen| seen["next_batch_at"].is_string()).await;
        bench.server.advance(Duration::from_secs(20));
        let paused = control("pause", Value::Null).await;
        assert_eq!((paused.status, &paused.json()["delay_remaining_ms"]), (200, &json!(40_000)));
        let again = control("pause", Value::Null).await;
        assert_eq!((again.status, &again.headers["etag"]), (200, &paused.headers["etag"]));
        bench.server.advance(Duration::from_secs(3_600));
        pass(&bench.handle).await.unwrap();
        assert_eq!(bench.set(id).queued, 0, "a paused deployment dispatches nothing");
        assert_eq!(control("resume", Value::Null).await.json()["status"], "running");
        pass(&bench.handle).await.unwrap();
        assert_eq!(bench.set(id).queued, 0, "the rest of the delay is waited for");
        bench.server.advance(Duration::from_secs(41));
        bench.server.publish("rolling:deployments");
        bench.until(id, "the second batch", |seen| seen["current_batch"] == 2).await;
        let cancelled = control("cancel", Value::Null).await;
        assert_eq!(cancelled.status, 200);
        bench.until(id, "the cancel", |seen| seen["status"] == "cancelled").await;
        for name in ["pause", "resume", "cancel"] {
            let late = control(name, Value::Null).await;
            assert_eq!(refused(&late), (409, "invalid-transition".to_owned()), "{name}");
            assert!(late.json()["detail"].as_str().unwrap().contains("cancelled"));
        }
        let state = bench.server.state();
        let actions: Vec<&str> = state.audits.iter().map(|audit| audit.action.as_str()).collect();
        assert_eq!(actions, ["rolling.create", "rolling.pause", "rolling.resume", "rolling.cancel"]);
    }

    async fn a_batch_waits_for_its_approval(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(4, json!({"require_approval": "first"})).await;
        bench.finish(id, 2, 0).await;
        let waits = bench.until(id, "the approval", |seen| seen["status"] == "awaiting_approval").await;
        assert_eq!(waits["awaiting_batch"], 2);
        let wrong = bench.post(&format!("/{id}/approve"), json!({"batch": 3})).await;
        assert_eq!(refused(&wrong), (409, "invalid-transition".to_owned()));
        assert_eq!(bench.post(&format!("/{id}/approve"), json!({})).await.status, 422);
        assert_eq!(bench.post(&format!("/{id}/approve"), json!({"batch": 2})).await.status, 200);
        bench.finish(id, 2, 0).await;
        bench.until(id, "the end", |seen| seen["status"] == "succeeded").await;
    }

    async fn a_rollback_runs_on_what_had_started_last_batch_first(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let rollback = json!({"operation_type": "run_script", "parameters": {"script": "undo"}});
        let id = bench.create(6, json!({"rollback": rollback, "failure_threshold_pct": 0})).await;
        bench.finish(id, 2, 0).await;
        bench.until(id, "the second batch", |_| bench.set(id).queued == 2).await;
        // Of the second batch one host failed and one never started.
        let rows = [(0, CommandStatus::Succeeded, true), (1, CommandStatus::Succeeded, true), (2, CommandStatus::Failed, true),
            (3, CommandStatus::Failed, false), (4, CommandStatus::Skipped, false), (5, CommandStatus::Skipped, false)];
        let rows = rows.map(|(ordinal, status, started)| row(id, ordinal, status, started));
        bench.server.state().commands.insert(SetId(id), rows.to_vec());
        bench.change(id, |set| (set.queued, set.failed) = (0, 2));
        // The bench keeps sets beside the database: the status may be seen a moment before the set.
        let rolling = bench.until(id, "the rollback", |seen| seen["status"] == "rolling_back" && !seen["rollback"].is_null()).await;
        assert_eq!(rolling["rollback"]["total"], 3);
        let paused = bench.post(&format!("/{id}/pause"), Value::Null).await;
        assert_eq!(refused(&paused), (409, "invalid-transition".to_owned()));
        let (set_id, hosts) = {
            let state = bench.server.state();
            let (create, hosts) = state.created_sets.last().unwrap();
            assert_eq!(create.parameters, json!({"script": "undo"}));
            (create.set_id.0, hosts.clone())
        };
        assert_eq!(hosts, [host_id(2), host_id(0), host_id(1)]);
        for released in [1, 2] {
            bench.until(id, "a batch of the rollback", |_| bench.set(set_id).queued == released).await;
            bench.change(set_id, |set| (set.queued, set.succeeded) = (0, set.succeeded + released));
        }
        bench.until(id, "the end", |seen| seen["status"] == "rolled_back").await;
        let undone = [(0, 2), (1, 0), (2, 1)].map(|(ordinal, number)| CommandView {
            host_id: host_id(number),
            ..row(set_id, ordinal, CommandStatus::Succeeded, true)
        });
        bench.server.state().commands.insert(SetId(set_id), undone.to_vec());
        let rolled_back = async |query: &str| -> Vec<bool> {
            let before = bench.server.state().commands_asked;
            let page = bench.get(&format!("/{id}/hosts{query}")).await.json();
            let asked = bench.server.state().commands_asked - before;
            assert_eq!(asked, 2, "one question for the rows and one for what the rollback did on them");
            let rows = page["items"].as_array().unwrap().iter();
            rows.map(|row| row["rollback"]["host_id"] == row["host_id"]).collect()
        };
        assert_eq!(rolled_back("").await, [true, true, true, false, false, false]);
        assert_eq!(rolled_back("?limit=1").await, [true]);
        assert_eq!(rolled_back("?status=failed").await, [true, false]);
    }

    async fn hosts_of_batches_to_come_are_shown_and_found_as_queued(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(3, json!({})).await;
        bench.until(id, "the first batch", |_| bench.set(id).queued == 2).await;
        let statuses = [CommandStatus::Running, CommandStatus::Queued, CommandStatus::Held];
        let rows = (0..).zip(statuses).map(|(ordinal, status)| row(id, ordinal, status, false));
        bench.server.state().commands.insert(SetId(id), rows.collect());
        let page = bench.get(&format!("/{id}/hosts?status=queued")).await.json();
        let shown: Vec<_> = page["items"].as_array().unwrap().iter().map(|row| (&row["batch"], &row["status"])).collect();
        assert_eq!(shown, [(&json!(1), &json!("queued")), (&json!(2), &json!("queued"))]);
    }

    async fn a_plan_shows_the_batches_and_stores_nothing(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let plan = bench.post("", body(5, json!({"plan_only": true}))).await;
        assert_eq!((plan.status, &plan.json()["batch_count"]), (200, &json!(3)));
        assert_eq!(plan.json()["batches"][2]["host_ids"], json!([host_id(4)]));
        assert!(bench.server.state().created_sets.is_empty());
        assert_eq!(bench.get("").await.json()["items"], json!([]));
        let empty = bench.post("", body(0, json!({}))).await;
        assert_eq!(refused(&empty), (422, "selection-empty".to_owned()));
        let both = bench.post("", body(1, json!({"batches": [1]}))).await;
        assert_eq!(refused(&both), (422, "rolling-batches-invalid".to_owned()));
    }

    async fn lists_filter_by_the_status_that_is_shown(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let done = bench.create(2, json!({})).await;
        bench.finish(done, 2, 0).await;
        bench.until(done, "the end", |seen| seen["status"] == "succeeded").await;
        bench.server.advance(Duration::from_secs(1));
        let open = bench.create(2, json!({})).await;
        bench.until(open, "the start", |seen| seen["status"] == "running").await;
        let listed = async |query: &str| -> Vec<Uuid> {
            let page = bench.get(query).await.json();
            page["items"].as_array().unwrap().iter().map(id_of).collect()
        };
        assert_eq!(listed("").await, [open, done]);
        assert_eq!(listed("?status=succeeded").await, [done]);
        assert_eq!(listed("?status=running").await, [open]);
        assert_eq!(listed("?status=paused").await, Vec::<Uuid>::new());
        let first = bench.get("?limit=1").await.json();
        assert_eq!(listed(&format!("?limit=1&cursor={}", first["next_cursor"].as_str().unwrap())).await, [done]);
        assert_eq!(refused(&bench.get("?status=halting").await), (422, "invalid-field".to_owned()));
        let missing = bench.get(&format!("/{}", Uuid::nil())).await;
        assert_eq!(refused(&missing), (404, "not-found".to_owned()));
        assert_eq!(refused(&bench.get("/x").await), (400, "malformed".to_owned()));
    }

    async fn a_given_id_creates_one_deployment(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = Uuid::from_u128(77);
        let call = |method: &str, json: Value| bench.module.invoke(bench.context(), method.to_owned(), Payload::json(json));
        for _time in 0..2 {
            let answer = call("create", json!({"id": id, "request": body(3, json!({}))})).await.unwrap();
            assert_eq!(id_of(&answer.json), id);
        }
        assert_eq!(bench.server.state().created_sets.len(), 1);
        let found = call("status", json!({"ids": [id, Uuid::nil()]})).await.unwrap();
        assert_eq!(found.json["operations"].as_array().unwrap().len(), 1);
        bench.until(id, "the start", |seen| seen["status"] == "running").await;
        call("cancel", json!({"id": id})).await.unwrap();
        bench.until(id, "the end", |seen| seen["status"] == "cancelled").await;
    }

    async fn a_deployment_goes_with_its_set(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(2, json!({})).await;
        bench.finish(id, 2, 0).await;
        bench.until(id, "the end", |seen| seen["status"] == "succeeded").await;
        bench.server.advance(Duration::from_secs(7_200));
        prune::once::<RollingKind>(&bench.handle).await.unwrap();
        assert_eq!(bench.get(&format!("/{id}")).await.status, 200);
        bench.server.state().sets.clear();
        prune::once::<RollingKind>(&bench.handle).await.unwrap();
        assert_eq!(bench.get(&format!("/{id}/trace")).await.status, 404);
        assert_eq!(bench.get("").await.json()["items"], json!([]));
    }
}

fn row(id: Uuid, ordinal: u64, status: CommandStatus, started: bool) -> CommandView {
    let json = json!({
        "id": Uuid::from_u128(0x77_0000 + u128::from(ordinal)), "set_id": id, "host_id": host_id(ordinal), "ordinal": ordinal,
        "status": status, "attempt": 1, "created_at_us": 0, "started_at_us": started.then_some(1),
    });
    serde_json::from_value(json).unwrap()
}
