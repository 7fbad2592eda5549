//! Sums under many at once, and what claims set aside.

use fleetwright_module_placement::budgets::actions::current;
use fleetwright_module_placement::budgets::store::{release, reserve};
use fleetwright_plugin_api::sdk::{Batch, ServerError};
use fleetwright_tests::on_each_database;
use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Bench, sums};

const USD: i64 = 1_000_000;

fn total(ceiling: i64) -> Value {
    json!({"ceiling_usd": ceiling, "window": "total"})
}

async fn take(bench: &Bench, product: &str, job: u128, epoch: i64, amount: i64) -> bool {
    let batch = reserve(
        Batch::new(),
        product,
        Uuid::from_u128(job),
        epoch,
        amount * USD,
    );
    match bench.commit(batch).await {
        Ok(()) => true,
        Err(ServerError::Guard { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn give_back(bench: &Bench, job: u128, epoch: i64) {
    let batch = release(Batch::new(), Uuid::from_u128(job), epoch);
    bench.commit(batch).await.unwrap();
}

on_each_database! {
    async fn sixty_four_at_once_are_all_counted_and_pause_once(database: TestDatabase) {
        let bench = Bench::start(&database, true).await;
        bench.set("p", json!({"ceiling_usd": "6.4", "window": "monthly"})).await;
        let spends = (0..64).map(|number| {
            let bench = &bench;
            async move { bench.spend("p", json!({"amount_usd": "0.1", "key": format!("{number}")})).await }
        });
        join_all(spends).await;
        let shown = bench.get("/p").await;
        assert_eq!(sums(&shown), ("6.4", "0", "0", "ceiling"));
        assert_eq!(bench.get("/p/history").await["items"][0]["spent_usd"], "6.4");
        // And one key of many at once is one.
        let same = (0..32).map(|_| bench.spend("p", json!({"amount_usd": 1, "key": "same"})));
        let answers = join_all(same).await;
        assert_eq!(answers.iter().filter(|answer| answer["accrued"] == true).count(), 1);
        assert_eq!(bench.get("/p").await["spent_usd"], "7.4");
    }

    async fn claims_at_once_never_set_aside_more_than_the_ceiling(database: TestDatabase) {
        let bench = Bench::start(&database, true).await;
        bench.set("p", total(10)).await;
        let taken = join_all((0..32).map(|job| take(&bench, "p", job, 1, 3))).await;
        assert_eq!(taken.iter().filter(|taken| **taken).count(), 3);
        assert_eq!(sums(&bench.get("/p").await), ("0", "9", "1", "-"));
        // What a job spends uses up what was set aside for it, however many parts it comes in.
        let job = taken.iter().position(|taken| *taken).unwrap();
        let id = Uuid::from_u128(job.try_into().unwrap());
        let parts = (0..16).map(|part| {
            bench.spend("p", json!({"amount_usd": "0.25", "key": format!("{part}"), "job_id": id, "lease_epoch": 1}))
        });
        let parts = join_all(parts).await;
        let consumed = parts.iter().filter(|part| part["consumed_usd"] == "0.25").count();
        assert_eq!(consumed, 12);
        assert_eq!(sums(&bench.get("/p").await), ("4", "6", "0", "-"));
        // Ends of leases at once with what they spend leave nothing behind.
        let spends = (0..32).map(|job| {
            let id = Uuid::from_u128(job);
            let body = json!({"amount_usd": "0.01", "key": format!("late {job}"), "job_id": id, "lease_epoch": 1});
            bench.spend("p", body)
        });
        let ends = (0..32).map(|job| give_back(&bench, job, 1));
        tokio::join!(join_all(spends), join_all(ends));
        assert_eq!(sums(&bench.get("/p").await), ("4.32", "0", "5.68", "-"));
    }

    async fn a_reservation_is_its_leases_and_is_given_back_once(database: TestDatabase) {
        let bench = Bench::start(&database, true).await;
        // Without a budget nothing is set aside, and nothing is refused.
        assert!(take(&bench, "free", 1, 1, 1_000).await);
        bench.set("p", total(10)).await;
        bench.set("q", total(10)).await;
        assert!(take(&bench, "p", 1, 7, 10).await);
        assert!(!take(&bench, "p", 2, 1, 1).await);
        assert!(take(&bench, "p", 3, 1, 0).await, "what costs nothing is within the ceiling");
        let id = Uuid::from_u128(1);
        // Neither another lease's nor another product's spending uses it up.
        for (product, epoch) in [("p", 6), ("q", 7)] {
            let body = json!({"amount_usd": 1, "key": "k", "job_id": id, "lease_epoch": epoch});
            assert_eq!(bench.spend(product, body).await["consumed_usd"], "0", "{product}");
        }
        assert_eq!(sums(&bench.get("/p").await), ("1", "10", "0", "-"));
        let body = json!({"amountUsd": 4, "key": "k4", "jobId": id, "leaseEpoch": 7});
        let spent = bench.spend("p", body).await;
        assert_eq!((&spent["consumed_usd"], sums(&spent["budget"])), (&json!("4"), ("5", "6", "0", "-")));
        give_back(&bench, 1, 7).await;
        give_back(&bench, 1, 7).await;
        assert_eq!(sums(&bench.get("/p").await), ("5", "0", "5", "-"));
        let late = bench.spend("p", json!({"amount_usd": 6, "key": "late", "job_id": id, "lease_epoch": 7})).await;
        assert_eq!((&late["consumed_usd"], sums(&late["budget"])), (&json!("0"), ("11", "0", "0", "ceiling")));
        assert!(!take(&bench, "p", 4, 1, 0).await, "paused");
        bench.set("p", total(100)).await;
        bench.post("/p/pause").await;
        assert!(!take(&bench, "p", 4, 1, 0).await, "paused by hand");
    }

    async fn a_reservation_goes_on_into_the_next_window(database: TestDatabase) {
        let bench = Bench::start(&database, true).await;
        bench.set("p", json!({"ceiling_usd": 10, "window": "daily"})).await;
        assert!(take(&bench, "p", 1, 1, 4).await);
        bench.spend("p", json!({"amount_usd": 10, "key": "1"})).await;
        assert!(!take(&bench, "p", 2, 1, 1).await);
        bench.at("2026-01-31T00:00:00Z");
        let budget = current(&bench.handle, "p", true).await.unwrap().unwrap();
        assert_eq!((budget.spent_micros, budget.reserved_micros), (0, 4 * USD));
        assert!(take(&bench, "p", 2, 1, 6).await);
        let id = Uuid::from_u128(1);
        let spent = bench.spend("p", json!({"amount_usd": 5, "key": "2", "job_id": id, "lease_epoch": 1})).await;
        assert_eq!((&spent["consumed_usd"], sums(&spent["budget"])), (&json!("4"), ("5", "6", "0", "-")));
    }

    async fn spending_at_the_turn_of_a_window_is_in_one_of_them(database: TestDatabase) {
        let bench = Bench::start(&database, true).await;
        bench.set("p", json!({"ceiling_usd": 1000, "window": "daily"})).await;
        bench.spend("p", json!({"amount_usd": 5, "key": "before"})).await;
        bench.at("2026-01-31T00:00:00Z");
        let spends = (0..24).map(|number| {
            let bench = &bench;
            async move { bench.spend("p", json!({"amount_usd": 1, "key": format!("{number}")})).await }
        });
        let rises = (0..8).map(|number| bench.set("p", json!({"ceiling_usd": 1001 + number, "window": "daily"})));
        tokio::join!(join_all(spends), join_all(rises));
        assert_eq!(bench.get("/p").await["spent_usd"], "24");
        let history = bench.get("/p/history").await;
        assert_eq!((&history["items"][0]["spent_usd"], &history["items"][1]["spent_usd"]), (&json!("24"), &json!("5")));
    }
}
