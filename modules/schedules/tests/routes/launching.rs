//! What becomes of recorded runs: launched once, as somebody who may, or not at all and why.

use std::time::Duration;

use fleetwright_module_schedules::Schedules;
use fleetwright_module_schedules::actions::launch::Launched;
use fleetwright_module_schedules::controller::prune_once;
use fleetwright_module_schedules::decide::{Cause, Fire, Kind};
use fleetwright_module_schedules::store;
use fleetwright_module_schedules::store::runs::{self, Phase, Run};
use fleetwright_plugin_api::sdk::{Batch, Problem, ServerError};
use fleetwright_tests::on_each_database;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Bench, body};

/// A launched run of long ago.
fn open_run(id: Uuid, schedule_id: Uuid, nominal_us: i64) -> Run {
    Run {
        id,
        schedule_id,
        nominal_us,
        cause: Cause::Cron,
        kind: Kind::Bulk,
        principal: "user:test".to_owned(),
        revision: None,
        recorded_at_us: nominal_us,
        launched_at_us: None,
        finished_at_us: None,
        phase: Phase::Launched,
        status: "running".to_owned(),
        reason: None,
    }
}

/// Fires and launches at each of these hours.
async fn hours(bench: &Bench, range: std::ops::Range<u32>) {
    for hour in range {
        bench.at(&format!("2026-01-01T{hour:02}:00:00Z"));
        bench.fire_and_launch().await;
    }
}

on_each_database! {
    async fn a_run_launches_its_operation_as_the_owner_and_follows_it(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({"options": {"timeout_seconds": 60}})).await;
        hours(&bench, 1..2).await;
        let operation = bench.created()[0];
        {
            let operations = bench.operations.lock().unwrap();
            let (_, principal, request) = &operations.created[0];
            assert_eq!(principal, "user:test");
            let expected = json!({"operation_type": "run_script", "parameters": {"script": "echo hi"},
                "selector": {"tags": ["web"]}, "timeout_seconds": 60});
            assert_eq!(*request, expected);
        }
        let run = bench.runs(id).await[0].clone();
        assert_eq!((&run["id"], &run["status"], &run["cause"]), (&json!(operation), &json!("queued"), &json!("cron")));
        assert_eq!(run["operation"]["href"], format!("/api/v1/fleet/bulk/{operation}"));
        for status in ["running", "partial"] {
            bench.end(operation, status);
            bench.follow().await;
            assert_eq!(bench.shown(id).await["last_status"], status);
        }
        // An end is an end.
        bench.end(operation, "running");
        bench.follow().await;
        let shown = bench.shown(id).await;
        assert_eq!((&shown["last_status"], &shown["last_run_at"]), (&json!("partial"), &json!("2026-01-01T01:00:00.000Z")));
    }

    async fn an_answer_that_was_lost_launches_nothing_twice(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({})).await;
        bench.operations.lock().unwrap().lose_answers = true;
        bench.at("2026-01-01T01:00:00Z");
        bench.fire().await;
        assert_eq!(bench.launch().await, Launched::Idle, "what exists is taken over without asking for it again");
        assert_eq!(bench.operations.lock().unwrap().asked, 1);
        // What happened since does not undo it.
        bench.server.state().revoked.insert("user:test".to_owned());
        bench.launch().await;
        assert_eq!(bench.created().len(), 1);
        assert_eq!(bench.statuses(id).await, ["queued"]);
    }

    async fn a_fire_during_a_run_is_skipped_by_default(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({})).await;
        hours(&bench, 1..3).await;
        assert_eq!(bench.statuses(id).await, ["queued", "skipped_overlap"]);
        assert_eq!(bench.shown(id).await["last_status"], "skipped_overlap");
        // It ended, and nobody has told yet: the next fire asks.
        bench.end(bench.created()[0], "succeeded");
        hours(&bench, 3..4).await;
        assert_eq!(bench.statuses(id).await, ["succeeded", "skipped_overlap", "queued"]);
    }

    async fn runs_overlap_where_the_schedule_allows_it(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({"overlap_policy": "allow"})).await;
        hours(&bench, 1..4).await;
        assert_eq!(bench.statuses(id).await, ["queued", "queued", "queued"]);
    }

    async fn a_replacement_launches_once_the_cancel_is_acknowledged(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({"overlap_policy": "replace"})).await;
        hours(&bench, 1..2).await;
        let first = bench.created()[0];
        let away = |_context, _payload| Err(ServerError::Unavailable("restarting".to_owned()).into());
        bench.server.on_invoke("bulk", "cancel", away);
        hours(&bench, 2..3).await;
        assert_eq!(bench.created(), [first], "nothing is launched before");
        let shared = bench.operations.clone();
        bench.server.on_invoke("bulk", "cancel", move |_context, payload| {
            let mut operations = shared.lock().unwrap();
            assert_eq!(operations.created.len(), 1, "cancelled before the next is launched");
            operations.statuses.insert(first, "cancelled".to_owned());
            Ok(payload)
        });
        bench.launch().await;
        bench.follow().await;
        assert_eq!(bench.statuses(id).await, ["cancelled", "queued"]);
    }

    async fn an_owner_who_lost_the_role_launches_nothing(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({})).await;
        bench.server.state().revoked.insert("user:test".to_owned());
        hours(&bench, 1..2).await;
        assert_eq!(bench.operations.lock().unwrap().asked, 0);
        let shown = bench.shown(id).await;
        assert_eq!((&shown["last_status"], &shown["last_reason"]), (&json!("failed_to_launch"), &json!("owner_revoked")));
    }

    async fn a_lapsed_licence_skips_and_a_new_one_goes_on(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({})).await;
        for (hour, feature) in [(1, "fleet_scheduled_operations"), (2, "fleet_bulk_operations")] {
            bench.server.state().refused_features.insert(feature.to_owned(), "license_expired".to_owned());
            hours(&bench, hour..hour + 1).await;
            let shown = bench.shown(id).await;
            assert_eq!((&shown["last_status"], &shown["last_reason"]),
                (&json!("skipped_unlicensed"), &json!("license_expired")), "{feature}");
            bench.server.state().refused_features.clear();
        }
        hours(&bench, 3..4).await;
        assert_eq!(bench.statuses(id).await, ["skipped_unlicensed", "skipped_unlicensed", "queued"]);
    }

    async fn a_selection_of_nothing_and_a_refusal_are_told(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({})).await;
        bench.operations.lock().unwrap().failure = Some(Problem::unprocessable("selection-empty", "none").into());
        hours(&bench, 1..2).await;
        bench.operations.lock().unwrap().failure = Some(Problem::unprocessable("group-unknown", "gone").into());
        hours(&bench, 2..3).await;
        assert_eq!(bench.statuses(id).await, ["selection_empty", "failed_to_launch"]);
        assert_eq!(bench.shown(id).await["last_reason"], "group-unknown");
    }

    async fn a_launch_is_tried_again_while_something_is_away_and_then_given_up(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({})).await;
        let away = ServerError::Unavailable("restarting".to_owned());
        bench.operations.lock().unwrap().failure = Some(away.clone().into());
        bench.at("2026-01-01T01:00:00Z");
        bench.fire().await;
        assert_eq!(bench.launch().await, Launched::Waiting);
        bench.operations.lock().unwrap().failure = None;
        assert_eq!(bench.launch().await, Launched::Idle);
        assert_eq!(bench.statuses(id).await, ["queued"]);
        bench.end(bench.created()[0], "succeeded");
        bench.operations.lock().unwrap().failure = Some(away.into());
        bench.at("2026-01-01T02:00:00Z");
        bench.fire().await;
        bench.launch().await;
        bench.server.advance(Duration::from_secs(600));
        assert_eq!(bench.launch().await, Launched::Idle);
        assert_eq!(bench.statuses(id).await, ["succeeded", "failed_to_launch"]);
    }

    async fn run_now_is_a_run_of_the_caller_and_respects_overlap(database: TestDatabase) {
        let mut bench = Bench::start(&database).await;
        let id = bench.create(json!({"enabled": false})).await;
        bench.client.context.principal = "user:other".to_owned();
        let path = format!("/{id}/run");
        let asked = bench.send("POST", &path, Value::Null).await;
        assert_eq!((asked.status, &asked.json()["cause"]), (202, &json!("manual")));
        // Recorded is as good as running.
        assert_eq!(Bench::code(&bench.send("POST", &path, Value::Null).await), (409, "schedule-overlap".to_owned()));
        bench.launch().await;
        assert_eq!(bench.operations.lock().unwrap().created[0].1, "user:other");
        assert_eq!(asked.json()["id"], json!(bench.created()[0]));
        assert_eq!(bench.send("POST", &path, Value::Null).await.status, 409);
        bench.end(bench.created()[0], "failed");
        assert_eq!(bench.send("POST", &path, Value::Null).await.status, 202, "it is over, though nobody has told yet");
        bench.launch().await;
        assert_eq!(bench.created().len(), 2);
        assert!(bench.server.state().audits.iter().any(|audit| audit.action == "schedule.run"));
    }

    async fn what_somebody_else_saved_is_not_launched_with_the_rights_of_before(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let other = bench.as_principal("user:other");
        // Every schedule is `bench`'s. What makes the run, who saves the schedule before it is launched, and what is launched
        // as whom.
        let cases = [
            ("cron", &bench, Some("user:test")),
            ("cron", &other, None),
            ("run by other", &other, Some("user:other")),
            ("run by other", &bench, None),
        ];
        for (number, (cause, saver, expected)) in cases.into_iter().enumerate() {
            let id = bench.create(json!({})).await;
            let path = format!("/{id}");
            let away = ServerError::Unavailable("restarting".to_owned());
            bench.operations.lock().unwrap().failure = Some(away.into());
            if cause == "cron" {
                bench.at(&format!("2026-01-01T0{}:00:00Z", number + 1));
                bench.fire().await;
            } else {
                other.send("POST", &format!("{path}/run"), Value::Null).await;
            }
            assert_eq!(bench.launch().await, Launched::Waiting);
            let saved = saver.send("PUT", &path, body(json!({"parameters": {"script": "echo new"}}))).await;
            assert_eq!(saved.status, 200);
            bench.operations.lock().unwrap().failure = None;
            bench.launch().await;
            let created: Vec<_> = std::mem::take(&mut bench.operations.lock().unwrap().created);
            let launched = created.first().map(|(_, principal, request)| (principal.as_str(), &request["parameters"]["script"]));
            let script = json!("echo new");
            assert_eq!(launched, expected.map(|principal| (principal, &script)), "{cause}");
            if expected.is_none() {
                let shown = bench.shown(id).await;
                assert_eq!((&shown["last_status"], &shown["last_reason"]), (&json!("failed_to_launch"), &json!("schedule_changed")));
            }
            assert_eq!(bench.send("DELETE", &path, Value::Null).await.status, 204);
        }
    }

    async fn a_fire_is_recorded_for_whoever_has_the_schedule_by_then(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let other = bench.as_principal("user:other");
        let id = bench.create(json!({})).await;
        let read = store::header(bench.handle.db(), id).await.unwrap().unwrap();
        let saved = other.send("PUT", &format!("/{id}"), body(json!({"parameters": {"script": "echo new"}}))).await;
        assert_eq!(saved.status, 200);
        let fire = Fire { nominal_us: read.next.unwrap().nominal_us, skipped: false };
        let record = Batch::new().sql(runs::record(&read, fire, bench.handle.now_us()));
        bench.handle.db().commit(&bench.handle.own_context(), record).await.unwrap();
        bench.launch().await;
        let operations = bench.operations.lock().unwrap();
        let (_, principal, request) = &operations.created[0];
        assert_eq!((principal.as_str(), &request["parameters"]["script"]), ("user:other", &json!("echo new")));
    }

    async fn many_open_runs_of_one_schedule_hide_no_other_ones(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        // 600 open runs: more than are read at once.
        let busy = bench.create(json!({"name": "busy", "cron": "* * * * *", "overlap_policy": "allow"})).await;
        let mut batch = Batch::new();
        for minute in 0..600 {
            let id = Uuid::from_u128(minute);
            bench.operations.lock().unwrap().statuses.insert(id, "running".to_owned());
            let run = open_run(id, busy, i64::try_from(minute).unwrap());
            batch = batch.sql(runs::insert(&run));
        }
        bench.handle.db().commit(&bench.handle.own_context(), batch).await.unwrap();
        let exclusive = bench.create(json!({})).await;
        hours(&bench, 1..3).await;
        assert_eq!(bench.statuses(exclusive).await, ["queued", "skipped_overlap"]);
        // Also once the busy one is to be exclusive: then every one of its runs counts.
        let replaced = body(json!({"name": "busy", "cron": "0 3 * * *", "overlap_policy": "replace"}));
        assert_eq!(bench.send("PUT", &format!("/{busy}"), replaced).await.status, 200);
        hours(&bench, 3..4).await;
        let cancelled = bench.operations.lock().unwrap().cancelled.len();
        assert!(cancelled >= 600, "{cancelled}");
    }

    async fn runs_whose_module_is_away_keep_no_others_waiting(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.server.on_invoke("rolling", "check", |_context, payload| Ok(payload));
        let away = |_context, _payload| Err(ServerError::Unavailable("restarting".to_owned()).into());
        bench.server.on_invoke("rolling", "create", away);
        // More than are looked at together.
        for number in 0..251 {
            bench.create(json!({"name": format!("rolling {number}"), "kind": "rolling"})).await;
        }
        let id = bench.create(json!({"cron": "1 1 * * *"})).await;
        bench.at("2026-01-01T01:00:00Z");
        bench.fire().await;
        bench.launch().await;
        bench.at("2026-01-01T01:01:00Z");
        bench.fire().await;
        assert_eq!(bench.launch().await, Launched::Waiting);
        assert_eq!(bench.statuses(id).await, ["queued"]);
    }

    async fn old_runs_are_dropped_however_many_there_are(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({"cron": "* * * * *"})).await;
        let mut batch = Batch::new();
        for minute in 0..1_100_u16 {
            let run = Run {
                phase: Phase::Ended,
                ..open_run(Uuid::from_u128(u128::from(minute)), id, i64::from(minute))
            };
            batch = batch.sql(runs::insert(&run));
        }
        bench.handle.db().commit(&bench.handle.own_context(), batch).await.unwrap();
        prune_once(&bench.handle).await.unwrap();
        let left = bench.get(&format!("/{id}/runs?limit=500")).await.json();
        assert_eq!(left["items"].as_array().unwrap().len(), 1);
    }

    async fn old_runs_are_dropped_but_for_the_newest(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({})).await;
        for hour in 1..4 {
            hours(&bench, hour..hour + 1).await;
            if let Some(last) = bench.created().last() {
                bench.end(*last, "succeeded");
                bench.follow().await;
            }
        }
        bench.server.advance(Duration::from_secs(89 * 86_400));
        prune_once(&bench.handle).await.unwrap();
        assert_eq!(bench.runs(id).await.len(), 3);
        bench.server.advance(Duration::from_secs(2 * 86_400));
        prune_once(&bench.handle).await.unwrap();
        assert_eq!(bench.runs(id).await.len(), 1);
        assert_eq!(bench.shown(id).await["last_status"], "succeeded");
    }

    async fn the_loops_do_all_of_it_by_themselves(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let (_module, _client) = bench.server.start::<Schedules>("schedules").await.unwrap();
        let id = bench.create(json!({})).await;
        bench.at("2026-01-01T01:00:00Z");
        bench.server.publish("schedules:armed");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        let wait_for = async |status: &str| {
            while bench.shown(id).await["last_status"] != status {
                assert!(tokio::time::Instant::now() < deadline, "never {status}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        wait_for("queued").await;
        let operation = bench.created()[0];
        bench.end(operation, "succeeded");
        bench.server.publish(&format!("set:{operation}"));
        wait_for("succeeded").await;
        assert_eq!(bench.created().len(), 1);
    }
}
