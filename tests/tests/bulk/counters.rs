//! Progress is exact at every moment.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fleetwright_tests::client::{number, text};
use fleetwright_tests::databases::Engine;
use fleetwright_tests::fleet::Setup;
use fleetwright_tests::load::agent::Behaviour;
use fleetwright_tests::wait::{PATIENCE, wait_for, wait_until};

use super::{bulk_on, counters, enrolled};

const AT_ONCE: Duration = Duration::ZERO;

fn forty_seven(engine: Engine) {
    let fleet = Setup::pro().on(engine).start();
    let (mut crowd, identities) = enrolled(&fleet, "webserver", 47);
    let (good, rest) = identities.split_at(30);
    let (bad, busy) = rest.split_at(2);
    crowd.connect(good, Behaviour::Succeed(AT_ONCE));
    crowd.connect(bad, Behaviour::Fail(AT_ONCE));
    crowd.connect(busy, Behaviour::Hold);
    let id = fleet
        .admin
        .bulk(&bulk_on("webserver", serde_json::json!({})));
    let path = format!("/fleet/bulk/{id}/progress");
    let progress = wait_for("32 results and 15 running", PATIENCE, || {
        let progress = fleet.admin.get(&path).expect(200);
        let now = counters(&progress);
        assert_eq!(now.iter().sum::<u64>(), 47, "{progress}");
        (now == [30, 2, 15, 0, 0]).then_some(progress)
    });
    assert_eq!(progress["percent_complete"].to_string(), "68.1");
    assert_eq!(progress["status"], "running");
    crowd.release();
    let done = fleet.admin.wait_bulk(&id);
    assert_eq!(counters(&done), [45, 2, 0, 0, 0]);
    assert_eq!(
        (
            &done["status"],
            done["percent_complete"].to_string().as_str()
        ),
        (&"partial".into(), "100.0")
    );
    let hosts = fleet.admin.bulk_hosts(&id);
    let mut by_status: BTreeMap<String, usize> = BTreeMap::new();
    for host in &hosts {
        *by_status.entry(text(host, "status")).or_default() += 1;
    }
    assert_eq!(
        by_status.into_iter().collect::<Vec<_>>(),
        [("failed".to_owned(), 2), ("succeeded".to_owned(), 45)]
    );
    assert_eq!(crowd.counters().started.load(Ordering::Relaxed), 47);
    let failed = fleet
        .admin
        .all(&format!("/fleet/bulk/{id}/hosts?status=failed"));
    assert_eq!(failed.len(), 2);
    assert!(
        failed
            .iter()
            .all(|host| host["reason"] == "exit_code" && host["exit_code"] == 3)
    );
}

#[test]
fn thirty_two_of_forty_seven_are_68_1_percent_on_sqlite() {
    forty_seven(Engine::Sqlite);
}

#[test]
fn thirty_two_of_forty_seven_are_68_1_percent_on_postgres() {
    forty_seven(Engine::Postgres);
}

fn limited(engine: Engine) {
    let fleet = Setup::pro().on(engine).start();
    let (mut crowd, identities) = enrolled(&fleet, "web", 60);
    crowd.connect(&identities, Behaviour::Hold);
    let body = bulk_on("web", serde_json::json!({"max_concurrency": 7}));
    let id = fleet.admin.bulk(&body);
    wait_until("all places to be used", PATIENCE, || {
        crowd.counters().running.load(Ordering::SeqCst) == 7
    });
    crowd.release();
    let done = fleet.admin.wait_bulk(&id);
    assert_eq!(counters(&done), [60, 0, 0, 0, 0]);
    let most = crowd.counters().running_max.load(Ordering::SeqCst);
    assert_eq!(most, 7, "ran at once");
}

#[test]
fn never_more_than_max_concurrency_run_on_sqlite() {
    limited(Engine::Sqlite);
}

#[test]
fn never_more_than_max_concurrency_run_on_postgres() {
    limited(Engine::Postgres);
}

#[test]
fn the_limit_and_the_counters_survive_a_killed_server() {
    let mut fleet = Setup::pro().start();
    let (mut crowd, identities) = enrolled(&fleet, "web", 20);
    crowd.connect(&identities, Behaviour::Hold);
    let id = fleet
        .admin
        .bulk(&bulk_on("web", serde_json::json!({"max_concurrency": 4})));
    let path = format!("/fleet/bulk/{id}/progress");
    let wait_four = |fleet: &fleetwright_tests::fleet::TestFleet| {
        wait_for("four running", PATIENCE, || {
            let progress = fleet.admin.get(&path).expect(200);
            (number(&progress, "running") == 4).then_some(())
        });
    };
    wait_four(&fleet);
    fleet.server.restart();
    wait_four(&fleet);
    crowd.release();
    let done = fleet.admin.wait_bulk(&id);
    assert_eq!(counters(&done), [20, 0, 0, 0, 0]);
    assert_eq!(
        crowd.counters().started.load(Ordering::Relaxed),
        20,
        "started twice or never"
    );
    assert!(crowd.counters().running_max.load(Ordering::SeqCst) <= 4);
}

#[test]
fn progress_streams_to_the_end_and_resumes() {
    let fleet = Setup::pro().start();
    let (mut crowd, identities) = enrolled(&fleet, "web", 5);
    crowd.connect(&identities, Behaviour::Hold);
    let id = fleet.admin.bulk(&bulk_on("web", serde_json::json!({})));
    let mut events = fleet.admin.events(&format!("/fleet/bulk/{id}/events"));
    let first = events.next_event().unwrap().expect("a snapshot at once");
    let snapshot: serde_json::Value = serde_json::from_str(&first.data).unwrap();
    assert_eq!(counters(&snapshot).iter().sum::<u64>(), 5);
    assert!(!first.id.is_empty());
    crowd.release();
    let mut last = first;
    while let Some(event) = events.next_event().unwrap() {
        last = event;
    }
    let end: serde_json::Value = serde_json::from_str(&last.data).unwrap();
    assert_eq!(
        (&end["status"], counters(&end)),
        (&"succeeded".into(), [5, 0, 0, 0, 0])
    );
}
