//! Critical jobs that take the seats of others, and when they must not.

use fleetwright_tests::on_each_database;
use serde_json::{Value, json};

use crate::kept;
use crate::support::{Bench, text};

on_each_database! {
    async fn a_critical_job_takes_the_seat_of_the_least(database: TestDatabase) {
        let bench = Bench::start(&database, &["preemption", "budgets"]).await;
        bench.done("PUT", "/budgets/default", json!({"ceilingUsd": "9", "window": "total"})).await;
        let factory = bench.factory("f", 2, &[]).await;
        for (key, priority) in [("low", "low"), ("high", "high")] {
            bench.job(json!({"idempotency_key": key, "priority": priority, "estimate_usd": "1"})).await;
        }
        let (high, low) = (bench.claim(&factory).await, bench.claim(&factory).await);
        let body = json!({"stage": "building", "lease_epoch": 1, "checkpoint": "here"});
        bench.done("PATCH", &format!("/jobs/{}", text(&low, "id")), body).await;
        let urgent = bench.job(json!({"idempotency_key": "urgent", "priority": "critical", "estimate_usd": "2"})).await;
        let claimed = bench.claim(&factory).await;
        assert_eq!(claimed["id"], urgent);
        let victim = bench.see(&text(&low, "id")).await;
        assert_eq!(victim["stage"], "queued");
        assert_eq!((&victim["attempts"], &victim["preemptions"], &victim["lease_epoch"]), (&json!(0), &json!(1), &json!(2)));
        assert_eq!(victim["checkpoint"], "here");
        let seen = bench.see(&urgent).await;
        for job in [&victim, &seen] {
            let event = &job["events"][0];
            assert_eq!(event["type"], "preempted", "{event}");
            assert_eq!((&event["data"]["victim"], &event["data"]["preemptor"]), (&low["id"], &json!(urgent)));
            assert_eq!(event["data"]["checkpoint"], true);
        }
        assert_eq!(seen["events"][1]["type"], "claimed");
        assert_eq!(bench.patch(&low, "testing").await, (409, "stale-lease".to_owned()));
        assert_eq!(bench.patch(&claimed, "building").await.0, 200);
        assert_eq!(bench.see(&text(&high, "id")).await["stage"], "assigned");
        let budget = bench.done("GET", "/budgets/default", Value::Null).await;
        assert_eq!(budget["reserved_usd"], "3");
        kept::check(&bench.handle).await;
    }

    async fn nobody_is_preempted_who_must_not_be(database: TestDatabase) {
        for (switch, running, waiting, needs) in [
            // Switched off.
            (false, "low", "critical", ""),
            // Not urgent enough.
            (true, "low", "high", ""),
            // An equal.
            (true, "critical", "critical", ""),
            // The factory could not do it.
            (true, "low", "critical", "fpga"),
        ] {
            let bench = Bench::start(&database, if switch { &["preemption"] } else { &[] }).await;
            let name = format!("f-{switch}-{running}-{waiting}-{needs}");
            let factory = bench.factory(&name, 1, &[]).await;
            let product = name.clone();
            let job = bench.job(json!({"idempotency_key": format!("{name}-r"), "priority": running, "product_id": product})).await;
            let claim = json!({"factory_id": factory, "product_id": product});
            assert_eq!(bench.done("POST", "/jobs/claim", claim.clone()).await["id"], job);
            let needs: Vec<&str> = Some(needs).filter(|needs| !needs.is_empty()).into_iter().collect();
            bench.job(json!({"idempotency_key": format!("{name}-w"), "priority": waiting, "product_id": product,
                             "required_capabilities": needs})).await;
            assert!(bench.done("POST", "/jobs/claim", claim).await.is_null(), "{name}");
            let seen = bench.see(&job).await;
            assert_eq!((&seen["stage"], &seen["preemptions"]), (&json!("assigned"), &json!(0)), "{name}");
            kept::check(&bench.handle).await;
        }
    }

    async fn a_job_is_preempted_three_times_and_then_stays(database: TestDatabase) {
        let bench = Bench::start(&database, &["preemption"]).await;
        let factory = bench.factory("f", 1, &[]).await;
        let low = bench.job(json!({"idempotency_key": "low", "priority": "low"})).await;
        for turn in 0..4 {
            assert_eq!(bench.claim(&factory).await["id"], low);
            bench.job(json!({"idempotency_key": format!("urgent-{turn}"), "priority": "critical"})).await;
            let urgent = bench.claim(&factory).await;
            assert_eq!(urgent.is_null(), turn == 3, "{turn}: {urgent}");
            if turn < 3 {
                assert_eq!(bench.patch(&urgent, "failed").await.0, 200);
            }
        }
        assert_eq!(bench.see(&low).await["preemptions"], 3);
        kept::check(&bench.handle).await;
    }

    async fn many_critical_jobs_at_once_take_each_seat_once(database: TestDatabase) {
        let bench = Bench::start(&database, &["preemption"]).await;
        let factory = bench.factory("f", 6, &[]).await;
        for number in 0..6 {
            bench.job(json!({"idempotency_key": format!("low-{number}"), "priority": "low"})).await;
        }
        assert_eq!(bench.keys(json!({"factory_id": factory})).await.len(), 6);
        for number in 0..12 {
            bench.job(json!({"idempotency_key": format!("urgent-{number}"), "priority": "critical"})).await;
        }
        let claims = (0..12).map(|_| bench.claim(&factory));
        let given = futures_util::future::join_all(claims).await;
        assert_eq!(given.iter().filter(|one| !one.is_null()).count(), 6);
        kept::check(&bench.handle).await;
    }
}
