//! For how long a claim holds.

use fleetwright_tests::on_each_database;
use serde_json::{Value, json};

use crate::kept;
use crate::support::{Bench, text};

on_each_database! {
    async fn exactly_the_leases_that_a_heartbeat_lists_go_on(database: TestDatabase) {
        let bench = Bench::start(&database, &[]).await;
        let factory = bench.factory("f", 9, &[]).await;
        for key in ["a", "b", "c"] {
            bench.job(json!({"idempotency_key": key, "max_attempts": 2})).await;
        }
        let (a, b, c) = (bench.claim(&factory).await, bench.claim(&factory).await, bench.claim(&factory).await);
        for _ in 0..11 {
            bench.after(80);
            let jobs = json!({"jobs": [
                {"job_id": a["id"], "lease_epoch": 1}, {"job_id": b["id"], "lease_epoch": 7},
            ]});
            let path = format!("/factories/{factory}/heartbeat");
            let answer = bench.done("POST", &path, jobs).await;
            let held: Vec<&Value> = answer["jobs"].as_array().unwrap().iter().map(|one| &one["held"]).collect();
            assert_eq!(held, [true, false]);
        }
        assert_eq!(bench.reap().await, 0, "880 s");
        // The answer to the claim of c was lost, b is said at an old epoch: 900 s after they were claimed both are queued again.
        bench.after(21);
        assert_eq!(bench.reap().await, 2);
        assert_eq!(bench.reap().await, 0);
        let seen = bench.see(&text(&c, "id")).await;
        assert_eq!((&seen["stage"], &seen["attempts"], &seen["lease_epoch"]), (&json!("queued"), &json!(1), &json!(2)));
        assert_eq!(seen["reason"], "its lease ran out");
        assert_eq!(bench.see(&text(&a, "id")).await["stage"], "assigned");
        assert_eq!(bench.patch(&c, "building").await, (409, "stale-lease".to_owned()));
        kept::check(&bench.handle).await;
    }

    async fn the_jobs_of_a_silent_factory_are_queued_with_their_checkpoints_or_dead(database: TestDatabase) {
        let bench = Bench::start(&database, &[]).await;
        let factory = bench.factory("f", 9, &[]).await;
        bench.job(json!({"idempotency_key": "a", "max_attempts": 2})).await;
        let claimed = bench.claim(&factory).await;
        let path = format!("/jobs/{}", text(&claimed, "id"));
        let body = json!({"stage": "building", "lease_epoch": 1, "checkpoint": "half"});
        assert_eq!(bench.told("PATCH", &path, body).await.0, 200);
        bench.after(90);
        assert_eq!(bench.reap().await, 0);
        bench.after(1);
        assert_eq!(bench.done("GET", &format!("/factories/{factory}"), Value::Null).await["state"], "stale");
        assert_eq!(bench.reap().await, 1);
        let again = bench.claim(&factory).await;
        assert_eq!((&again["checkpoint"], &again["lease_epoch"], &again["attempts"]), (&json!("half"), &json!(3), &json!(1)));
        bench.after(91);
        assert_eq!(bench.reap().await, 1);
        let seen = bench.see(&text(&claimed, "id")).await;
        assert_eq!((&seen["stage"], &seen["attempts"]), (&json!("dead_letter"), &json!(2)));
        assert_eq!(seen["checkpoint"], "half");
        kept::check(&bench.handle).await;
    }

    async fn seats_bound_what_is_held_and_come_back_with_every_end(database: TestDatabase) {
        let bench = Bench::start(&database, &["budgets"]).await;
        bench.done("PUT", "/budgets/default", json!({"ceilingUsd": "5", "window": "total"})).await;
        let factory = bench.factory("f", 1, &[]).await;
        for key in ["a", "b", "c", "d", "e", "g"] {
            bench.job(json!({"idempotency_key": key, "estimate_usd": "1"})).await;
        }
        for end in ["ship", "fail", "release", "cancel", "requeue", "reject"] {
            let claimed = bench.claim(&factory).await;
            assert!(bench.claim(&factory).await.is_null(), "one seat");
            kept::check(&bench.handle).await;
            let job = text(&claimed, "id");
            match end {
                "ship" => {
                    assert_eq!(bench.patch(&claimed, "building").await.0, 200);
                    assert_eq!(bench.patch(&claimed, "done").await.0, 200);
                }
                "fail" => assert_eq!(bench.patch(&claimed, "failed").await.0, 200),
                "release" => assert_eq!(bench.patch(&claimed, "queued").await.0, 200),
                operator => {
                    bench.done("POST", &format!("/jobs/{job}/{operator}"), Value::Null).await;
                }
            }
            kept::check(&bench.handle).await;
            let shown = bench.done("GET", &format!("/factories/{factory}"), Value::Null).await;
            assert_eq!(shown["seats_used"], 0, "{end}");
        }
        let budget = bench.done("GET", "/budgets/default", Value::Null).await;
        assert_eq!(budget["reserved_usd"], "0");
    }
}
