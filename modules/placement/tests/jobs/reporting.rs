//! What holders report, fenced by their epoch, and what operators do.

use axum::body::Body;
use fleetwright_tests::on_each_database;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::kept;
use crate::support::{Bench, JOBS};

on_each_database! {
    async fn a_holder_reports_its_way_and_a_stale_one_changes_nothing(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.task("a").await;
        let epoch = bench.claim(id).await;
        let report = |stage: &str, epoch: i64| json!({"stage": stage, "leaseEpoch": epoch});
        let invalid = (409, "invalid-transition".to_owned());
        let stale = (409, "stale-lease".to_owned());
        assert_eq!(bench.patch(id, report("testing", epoch)).await, invalid);
        assert_eq!(bench.patch(id, report("cancelled", epoch)).await, invalid);
        assert_eq!(bench.patch(id, report("building", epoch)).await.0, 200);
        let before = bench.job(id).await;
        assert_eq!(bench.patch(id, report("review", epoch - 1)).await, stale);
        let other = json!({"stage": "review", "lease_epoch": epoch, "factory_id": uuid::Uuid::from_u128(8)});
        assert_eq!(bench.patch(id, other).await, stale);
        assert_eq!(bench.patch(id, json!({"stage": "review"})).await.0, 422);
        assert_eq!(bench.job(id).await, before);
        bench.server.advance(std::time::Duration::from_secs(60));
        let note = json!({"lease_epoch": epoch, "checkpoint": "step 3", "factory_id": bench.factory_id});
        assert_eq!(bench.patch(id, note).await.0, 200);
        let renewed = bench.job(id).await;
        let lease_us = |job: &fleetwright_module_placement::jobs::job::Job| job.lease.as_ref().unwrap().expires_lease_us;
        assert_eq!(lease_us(&renewed) - lease_us(&before), 60_000_000);
        assert_eq!((renewed.checkpoint.as_deref(), renewed.stage), (Some("step 3"), before.stage));
        assert_eq!(bench.patch(id, json!({"stage": "failed", "lease_epoch": epoch, "reason": "broken"})).await.0, 200);
        let failed = bench.get(&format!("/{id}")).await;
        assert_eq!((&failed["attempts"], &failed["reason"], &failed["factory_id"]), (&json!(1), &json!("broken"), &Value::Null));
        assert_eq!(bench.patch(id, report("building", epoch)).await, invalid);
        kept::check(&bench.handle).await;
    }

    async fn a_review_that_is_handed_over_is_a_humans(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.task("a").await;
        let epoch = bench.claim(id).await;
        assert_eq!(bench.told("POST", &format!("/{id}/ship"), Value::Null).await.0, 409);
        for body in [
            json!({"stage": "building", "lease_epoch": epoch}),
            json!({"stage": "review", "lease_epoch": epoch, "release": true, "reason": "look"}),
        ] {
            assert_eq!(bench.patch(id, body).await, (200, String::new()));
        }
        let job = bench.job(id).await;
        assert_eq!((job.stage.as_str(), job.released, job.lease), ("review", true, None));
        kept::check(&bench.handle).await;
        let late = json!({"lease_epoch": epoch});
        assert_eq!(bench.patch(id, late).await, (409, "stale-lease".to_owned()));
        let shipped = bench.send("POST", &format!("/{id}/ship"), json!({"reason": "good"})).await;
        assert_eq!((shipped.status, &shipped.json()["stage"]), (200, &json!("shipped")));
        assert_eq!(shipped.json()["lease_epoch"], epoch + 1);
        for action in ["requeue", "cancel", "reject", "ship"] {
            let told = bench.told("POST", &format!("/{id}/{action}"), Value::Null).await;
            assert_eq!(told, (409, "invalid-transition".to_owned()), "{action}");
        }
    }

    async fn an_operator_takes_a_job_from_its_holder(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        for (action, stage) in [("requeue", "queued"), ("cancel", "cancelled"), ("reject", "dead_letter")] {
            let id = bench.task(action).await;
            let epoch = bench.claim(id).await;
            let done = bench.send("POST", &format!("/{id}/{action}"), json!({"reason": "so"})).await;
            assert_eq!((done.status, &done.json()["stage"]), (200, &json!(stage)), "{:?}", done.json());
            assert_eq!((&done.json()["attempts"], &done.json()["reason"]), (&json!(0), &json!("so")));
            let late = bench.patch(id, json!({"stage": "building", "lease_epoch": epoch})).await;
            assert_eq!(late, (409, "stale-lease".to_owned()));
            kept::check(&bench.handle).await;
        }
    }

    async fn what_a_job_made_and_each_attempt_is_kept_by_its_holder_alone(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.task("a").await;
        let epoch = bench.claim(id).await;
        let artifact = |epoch: i64, data: Value| json!({"lease_epoch": epoch, "name": "log", "data": data});
        let path = format!("/{id}/artifacts");
        assert_eq!(bench.told("POST", &path, artifact(epoch - 1, json!({}))).await, (409, "stale-lease".to_owned()));
        let first = bench.send("POST", &path, artifact(epoch, json!({"size": 1}))).await;
        let second = bench.send("POST", &path, artifact(epoch, json!({"size": 2}))).await;
        assert_eq!((first.status, second.status), (201, 201), "{:?}", first.json());
        assert_eq!(first.json()["id"], second.json()["id"]);
        let run = json!({"leaseEpoch": epoch, "outcome": "passed", "startedAt": "2026-01-31T12:00:00Z"});
        assert_eq!(bench.told("POST", &format!("/{id}/runs"), run).await, (201, String::new()));
        let shown = bench.get(&format!("/{id}")).await;
        assert_eq!(shown["artifacts"].as_array().unwrap().len(), 1);
        assert_eq!(shown["artifacts"][0]["data"], json!({"size": 2}));
        assert_eq!((&shown["runs"][0]["outcome"], &shown["runs"][0]["factory_id"]), (&json!("passed"), &json!(bench.factory_id)));
        assert_eq!(shown["runs"][0]["started_at"], "2026-01-31T12:00:00.000Z");
    }

    async fn whoever_follows_a_job_hears_what_they_missed_and_the_end(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.task("a").await;
        bench.claim(id).await;
        let mut request = http::Request::builder()
            .uri(format!("{JOBS}/{id}/events"))
            .header("last-event-id", "1")
            .body(Body::empty())
            .unwrap();
        request.extensions_mut().insert(bench.client.context.clone());
        let answer = bench.client.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut stream = answer.into_body().into_data_stream();
        let mut next = async || {
            let patience = std::time::Duration::from_secs(20);
            let chunk = tokio::time::timeout(patience, stream.next()).await.unwrap()?;
            Some(String::from_utf8(chunk.unwrap().to_vec()).unwrap())
        };
        let missed = next().await.unwrap();
        assert!(missed.contains("event: claimed") && missed.contains("id: 2"), "{missed}");
        let told = bench.told("POST", &format!("/{id}/cancel"), Value::Null).await;
        assert_eq!(told.0, 200);
        let last = next().await.unwrap();
        assert!(last.contains("event: cancelled") && last.contains("id: 3"), "{last}");
        assert_eq!(next().await, None, "nothing follows the end");
    }
}
