//! Many claim at once: each job goes to one of them.

use std::collections::BTreeMap;
use std::time::Instant;

use fleetwright_tests::databases::TestDatabase;
use fleetwright_tests::on_each_database;
use futures_util::future::join_all;
use serde_json::json;

use crate::kept;
use crate::support::{Bench, text};

const CLAIMERS: usize = 64;
const JOBS_PER_SUBMIT: usize = 200;

/// Two servers over one database, and claimers that go from one to the other. How often each job was given.
async fn race(database: &TestDatabase, jobs: usize) -> BTreeMap<String, usize> {
    let bench = Bench::start(database, &["preemption", "budgets"]).await;
    let other = Bench::beside(&bench.server);
    for parent in 0..jobs / JOBS_PER_SUBMIT {
        let children: Vec<_> = (0..JOBS_PER_SUBMIT)
            .map(|child| json!({"idempotency_key": format!("{parent}-{child}"), "body_md": "x"}))
            .collect();
        let body = json!({"idempotency_key": format!("{parent}"), "kind": "composite", "children": children});
        bench.done("POST", "/jobs", body).await;
    }
    let begun = Instant::now();
    let claimers = (0..CLAIMERS).map(|number| {
        let (bench, other) = (&bench, &other);
        async move {
            let factory = bench.factory(&format!("f{number}"), 1_000, &[]).await;
            let mut given = Vec::new();
            loop {
                let server = if given.len() % 2 == 0 { bench } else { other };
                let claimed = server.claim(&factory).await;
                if claimed.is_null() {
                    return given;
                }
                given.push(text(&claimed, "id"));
            }
        }
    });
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for id in join_all(claimers).await.into_iter().flatten() {
        *times.entry(id).or_default() += 1;
    }
    println!("{jobs} jobs in {:?}", begun.elapsed());
    kept::check(&bench.handle).await;
    times
}

on_each_database! {
    async fn many_claimers_get_each_job_exactly_once(database: TestDatabase) {
        let jobs = std::env::var("FLEETWRIGHT_TEST_CLAIMS").ok().and_then(|jobs| jobs.parse().ok());
        let jobs = jobs.unwrap_or(1_000);
        let times = race(&database, jobs).await;
        assert_eq!(times.len(), jobs);
        assert!(times.values().all(|times| *times == 1), "{times:?}");
    }
}
