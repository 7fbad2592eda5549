//! Which job a claim gets.

use fleetwright_tests::on_each_database;
use serde_json::{Value, json};

use crate::kept;
use crate::support::{Bench, text};

on_each_database! {
    async fn the_best_job_goes_first_by_the_weights_of_request_product_and_defaults(database: TestDatabase) {
        let bench = Bench::start(&database, &[]).await;
        let factory = bench.factory("f", 100, &["gpu"]).await;
        let submit = async |key: &str, priority: &str, product: &str, needs: &[&str]| {
            bench.job(json!({"idempotency_key": key, "priority": priority, "product_id": product,
                             "required_capabilities": needs})).await;
            bench.after(1);
        };
        submit("old", "normal", "a", &[]).await;
        submit("gpu", "normal", "a", &["gpu"]).await;
        submit("high", "high", "a", &[]).await;
        submit("low", "low", "a", &[]).await;
        submit("young", "normal", "a", &[]).await;
        submit("other", "normal", "b", &[]).await;
        submit("lacking", "critical", "a", &["fpga"]).await;
        // Defaults: a priority is worth ten minutes, capabilities five.
        let shown = bench.done("POST", "/jobs/claim?dry_run=true", json!({"factory_id": factory})).await;
        let keys = async |shown: &Value| {
            let mut keys = Vec::new();
            for one in shown["candidates"].as_array().unwrap() {
                keys.push(text(&bench.see(&text(one, "job_id")).await, "idempotency_key"));
            }
            keys.join(" ")
        };
        // The first of each queue: `young` stands behind `old`.
        assert_eq!(keys(&shown).await, "high gpu old other low");
        let first = &shown["candidates"][0];
        assert_eq!(first["score"], json!({"age": 0.083, "priority": 20, "retries": 0, "capabilities": 0, "total": 20.083}));
        assert_eq!(first["weights"], json!({"age": 1, "priority": 10, "retries": -2, "capabilities": 5}));
        // Of the product, field by field, over the defaults; of the request over both.
        let set = bench.done("PUT", "/products/b/weights", json!({"priority": 100})).await;
        assert_eq!(set["weights"], json!({"age": 1, "priority": 100, "retries": -2, "capabilities": 5}));
        let shown = bench.done("POST", "/jobs/claim?dry_run=true", json!({"factory_id": factory})).await;
        assert_eq!(keys(&shown).await, "other high gpu old low");
        let weights = json!({"priority": 0, "capabilities": -0.5});
        let body = json!({"factoryId": factory, "weights": weights, "productId": "a"});
        assert_eq!(bench.keys(body).await, ["old", "high", "low", "young", "gpu"]);
        assert_eq!(bench.keys(json!({"factory_id": factory})).await, ["other"]);
        kept::check(&bench.handle).await;
    }

    async fn a_claim_is_answered_with_all_its_holder_needs_and_again_under_its_name(database: TestDatabase) {
        let bench = Bench::start(&database, &[]).await;
        let factory = bench.factory("f", 2, &[]).await;
        let job = bench.job(json!({"idempotency_key": "k"})).await;
        bench.job(json!({"idempotency_key": "l"})).await;
        let body = json!({"factory_id": factory, "claim_id": "first", "weights": {"age": 1}});
        let claimed = bench.done("POST", &format!("/jobs/{job}/claim"), body.clone()).await;
        assert_eq!((text(&claimed, "id"), text(&claimed, "stage")), (job.clone(), "assigned".to_owned()));
        assert_eq!((&claimed["lease_epoch"], &claimed["body_md"]), (&json!(1), &json!("do it")));
        // The answer was lost: the same again, by either route.
        let again = bench.done("POST", "/jobs/claim", body.clone()).await;
        assert_eq!(again, claimed);
        let again = bench.done("POST", &format!("/jobs/{job}/claim"), body.clone()).await;
        assert_eq!(again, claimed);
        // Another name: it is not queued.
        let other = json!({"factory_id": factory, "claim_id": "second"});
        let told = bench.told("POST", &format!("/jobs/{job}/claim"), other.clone()).await;
        assert_eq!(told, (409, "invalid-transition".to_owned()));
        assert_eq!(bench.done("POST", "/jobs/claim", other).await["idempotency_key"], "l");
        assert!(bench.claim(&factory).await.is_null());
        // Once it is held no more its name says so.
        assert_eq!(bench.patch(&claimed, "building").await.0, 200);
        assert_eq!(bench.patch(&claimed, "shipped").await.0, 200);
        assert_eq!(bench.told("POST", "/jobs/claim", body).await, (409, "stale-lease".to_owned()));
        kept::check(&bench.handle).await;
    }

    async fn what_is_wrong_with_a_claim_is_told_and_nothing_is_taken(database: TestDatabase) {
        let bench = Bench::start(&database, &[]).await;
        let factory = bench.factory("f", 1, &[]).await;
        let job = bench.job(json!({"idempotency_key": "k"})).await;
        let nobody = "00000000-0000-7000-8000-000000000000";
        for (path, body, status, code) in [
            ("/jobs/claim", json!({"factory_id": nobody}), 422, "invalid"),
            ("/jobs/claim", json!({}), 422, "invalid"),
            ("/jobs/claim", json!({"factory_id": factory, "weights": {"age": -1}}), 422, "invalid"),
            ("/jobs/claim", json!({"factory_id": factory, "weights": {"age": 0.0001}}), 422, "invalid"),
            ("/jobs/claim", json!({"factory_id": factory, "weights": {"speed": 1}}), 422, "invalid"),
            ("/jobs/claim", json!({"factory_id": factory, "wait_seconds": 26}), 422, "invalid"),
            ("/jobs/claim", json!({"factory_id": factory, "claim_id": ""}), 422, "invalid"),
            (&format!("/jobs/{nobody}/claim"), json!({"factory_id": factory}), 404, "not-found"),
            ("/jobs/x/claim", json!({"factory_id": factory}), 400, "malformed"),
        ] {
            let (told, found) = bench.told("POST", path, body.clone()).await;
            assert_eq!(told, status, "{path} {body} {found}");
            assert!(status == 422 || found == code, "{path} {body} {found}");
        }
        assert_eq!(bench.see(&job).await["stage"], "queued");
        for weights in [json!({"age": -1}), json!({"priority": 1e9}), json!({"x": 1}), json!([])] {
            assert_eq!(bench.told("PUT", "/products/p/weights", weights).await.0, 422);
        }
    }

    async fn tenants_claim_their_own_for_their_own(database: TestDatabase) {
        let bench = Bench::start(&database, &[]).await;
        let (red, blue) = (bench.of_tenant("red"), bench.of_tenant("blue"));
        let red_factory = red.factory("f", 5, &[]).await;
        let blue_factory = blue.factory("f", 5, &[]).await;
        let common = bench.factory("f", 5, &[]).await;
        let red_job = red.job(json!({"idempotency_key": "k"})).await;
        assert!(blue.claim(&blue_factory).await.is_null());
        let claim = json!({"factory_id": blue_factory});
        assert_eq!(blue.told("POST", &format!("/jobs/{red_job}/claim"), claim).await.0, 404);
        for factory in [&red_factory, &common] {
            assert_eq!(blue.told("POST", "/jobs/claim", json!({"factory_id": factory})).await.0, 422);
            assert_eq!(blue.told("GET", &format!("/factories/{factory}"), Value::Null).await.0, 404);
            assert_eq!(blue.told("POST", &format!("/factories/{factory}/heartbeat"), json!({})).await.0, 404);
        }
        let listed = blue.done("GET", "/factories", Value::Null).await;
        assert_eq!(listed["items"].as_array().unwrap().len(), 1);
        // Nobody's factory, claimed for by nobody's token, works for all.
        assert_eq!(bench.claim(&common).await["id"], red_job);
        kept::check(&bench.handle).await;
    }

    async fn a_product_that_is_paused_or_used_up_is_not_looked_at(database: TestDatabase) {
        let bench = Bench::start(&database, &["budgets"]).await;
        let factory = bench.factory("f", 9, &[]).await;
        for (key, product, estimate) in [("a1", "a", "4"), ("a2", "a", "4"), ("a3", "a", "2"), ("b1", "b", "0"), ("c1", "c", "9")] {
            bench.job(json!({"idempotency_key": key, "product_id": product, "estimate_usd": estimate})).await;
            bench.after(1);
        }
        for product in ["a", "b"] {
            bench.done("PUT", &format!("/budgets/{product}"), json!({"ceilingUsd": 7, "window": "daily"})).await;
        }
        bench.done("POST", "/budgets/b/pause", Value::Null).await;
        // 4 of 7 are reserved: the second does not fit, the third does; c has no budget.
        assert_eq!(bench.keys(json!({"factory_id": factory})).await, ["a1", "a3", "c1"]);
        let budget = bench.done("GET", "/budgets/a", Value::Null).await;
        assert_eq!((&budget["reserved_usd"], &budget["remaining_usd"]), (&json!("6"), &json!("1")));
        let shown = bench.done("POST", "/jobs/claim?dry_run=true", json!({"factory_id": factory})).await;
        assert_eq!(shown["closed_products"], json!(["b"]));
        kept::check(&bench.handle).await;
        bench.done("POST", "/budgets/b/resume", Value::Null).await;
        assert_eq!(bench.keys(json!({"factory_id": factory})).await, ["b1"]);
        // The next day's window is another: a2 fits beside what is reserved still? 6 + 4 > 7.
        bench.after(86_400);
        assert!(bench.claim(&factory).await.is_null());
        kept::check(&bench.handle).await;
    }

    async fn without_the_switch_budgets_hold_nothing_back(database: TestDatabase) {
        let bench = Bench::start(&database, &[]).await;
        let factory = bench.factory("f", 9, &[]).await;
        bench.job(json!({"idempotency_key": "a1", "product_id": "a", "estimate_usd": "40"})).await;
        bench.done("PUT", "/budgets/a", json!({"ceilingUsd": 7, "window": "daily"})).await;
        bench.done("POST", "/budgets/a/pause", Value::Null).await;
        assert_eq!(bench.keys(json!({"factory_id": factory})).await, ["a1"]);
        let budget = bench.done("GET", "/budgets/a", Value::Null).await;
        assert_eq!(budget["reserved_usd"], "0");
        kept::check(&bench.handle).await;
    }

    async fn who_waits_gets_what_is_submitted_then(database: TestDatabase) {
        let bench = Bench::start(&database, &[]).await;
        let factory = bench.factory("f", 9, &[]).await;
        let waiting = bench.done("POST", "/jobs/claim", json!({"factory_id": factory, "wait_seconds": 20}));
        let submitting = async {
            // Decided after the one that waits has found nothing: rounds keep their order.
            assert!(bench.claim(&factory).await.is_null());
            bench.job(json!({"idempotency_key": "late"})).await
        };
        let (claimed, job) = tokio::join!(waiting, submitting);
        assert_eq!(claimed["id"], job);
    }
}
