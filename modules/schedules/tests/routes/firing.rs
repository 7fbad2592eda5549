//! When fires are recorded: once each, whatever the clock, crashes and other servers do.

use fleetwright_tests::on_each_database;
use serde_json::json;

use crate::support::{Bench, body};

async fn nominal_times(bench: &Bench, id: uuid::Uuid) -> Vec<String> {
    let runs = bench.runs(id).await;
    let times = runs
        .iter()
        .rev()
        .map(|run| run["scheduled_for"].as_str().unwrap());
    times.map(|time| time[11..16].to_owned()).collect()
}

on_each_database! {
    async fn a_fire_is_recorded_when_it_is_due_and_not_before(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({})).await;
        bench.at("2026-01-01T00:59:59.999Z");
        bench.fire().await;
        assert!(bench.runs(id).await.is_empty());
        bench.at("2026-01-01T01:00:00Z");
        bench.fire().await;
        bench.fire().await;
        assert_eq!(nominal_times(&bench, id).await, ["01:00"]);
        assert_eq!(bench.shown(id).await["next_run_at"], "2026-01-01T02:00:00.000Z");
    }

    async fn ten_thousand_missed_fires_are_one_run(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({"cron": "*/5 * * * *"})).await;
        bench.at("2026-02-04T17:22:00Z");
        bench.fire_and_launch().await;
        assert_eq!(nominal_times(&bench, id).await, ["17:20"]);
        assert_eq!(bench.created().len(), 1);
        assert_eq!(bench.shown(id).await["next_run_at"], "2026-02-04T17:25:00.000Z");
    }

    async fn missed_fires_are_skipped_where_the_schedule_says_so(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({"misfire_policy": "skip"})).await;
        // 60 s late is in time; a moment later it is not.
        bench.at("2026-01-01T01:01:00Z");
        bench.fire_and_launch().await;
        assert_eq!(bench.created().len(), 1);
        bench.end(bench.created()[0], "succeeded");
        bench.at("2026-01-01T02:01:00.001Z");
        bench.fire_and_launch().await;
        assert_eq!(bench.created().len(), 1);
        bench.at("2026-01-01T09:00:30Z");
        bench.fire_and_launch().await;
        assert_eq!(nominal_times(&bench, id).await, ["01:00", "02:00", "03:00", "09:00"]);
        assert_eq!(bench.statuses(id).await, ["succeeded", "skipped_misfire", "skipped_misfire", "queued"]);
    }

    async fn a_clock_set_back_fires_nothing_twice_and_loses_nothing(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({"overlap_policy": "allow"})).await;
        for time in ["2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z", "2026-01-01T03:00:00Z"] {
            bench.at(time);
            bench.fire().await;
        }
        bench.at("2026-01-01T01:30:00Z");
        bench.fire().await;
        assert_eq!(bench.shown(id).await["next_run_at"], "2026-01-01T02:00:00.000Z");
        for time in ["2026-01-01T02:00:00Z", "2026-01-01T03:00:00Z", "2026-01-01T04:00:00Z"] {
            bench.at(time);
            bench.fire().await;
        }
        assert_eq!(nominal_times(&bench, id).await, ["01:00", "02:00", "03:00", "04:00"]);
        bench.launch().await;
        assert_eq!(bench.created().len(), 4);
    }

    async fn two_servers_record_one_fire_once(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({})).await;
        bench.at("2026-01-01T01:00:00Z");
        let (first, second) = tokio::join!(bench.fire(), bench.fire());
        assert_eq!((first, second), ((), ()));
        let (first, second) = tokio::join!(bench.launch(), bench.launch());
        assert_eq!(first, second);
        assert_eq!(nominal_times(&bench, id).await, ["01:00"]);
        assert_eq!(bench.created().len(), 1);
    }

    async fn bounds_are_kept(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({
            "starts_at": "2026-01-01T02:00:00Z", "ends_at": "2026-01-01T04:00:00Z", "overlap_policy": "allow",
        })).await;
        for hour in 1..7 {
            bench.at(&format!("2026-01-01T0{hour}:00:01Z"));
            bench.fire().await;
        }
        assert_eq!(nominal_times(&bench, id).await, ["02:00", "03:00"]);
        assert_eq!(bench.shown(id).await["next_run_at"], serde_json::Value::Null);
    }

    async fn jitter_is_the_same_each_time_and_spreads_schedules(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let mut ids = Vec::new();
        for number in 0..40 {
            ids.push(bench.create(json!({"name": format!("s{number}"), "jitter_seconds": 600})).await);
        }
        let mut fired_at = Vec::new();
        for minute in 0..11 {
            bench.at(&format!("2026-01-01T01:{minute:02}:00Z"));
            bench.fire().await;
            let mut fired = 0;
            for id in &ids {
                fired += bench.runs(*id).await.len();
            }
            fired_at.push(fired);
        }
        assert_eq!(fired_at[10], 40, "{fired_at:?}");
        assert!(fired_at[0] < 8 && fired_at[3] > 0 && fired_at[6] < 40, "{fired_at:?}");
        for id in &ids {
            assert_eq!(nominal_times(&bench, *id).await, ["01:00"]);
        }
    }

    async fn a_thousand_schedules_of_one_second_are_all_recorded(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        for number in 0..1_000 {
            let answer = bench.send("POST", "", body(json!({"name": format!("s{number}")}))).await;
            assert_eq!(answer.status, 201);
        }
        bench.at("2026-01-01T01:00:00Z");
        bench.fire_and_launch().await;
        assert_eq!(bench.created().len(), 1_000);
        let distinct: std::collections::BTreeSet<_> = bench.created().into_iter().collect();
        assert_eq!(distinct.len(), 1_000);
    }
}
