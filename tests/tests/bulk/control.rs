//! Pause, resume, cancel, retry, and hosts that are away.

use std::sync::atomic::Ordering;
use std::time::Duration;

use fleetwright_tests::client::{number, text};
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::load::agent::Behaviour;
use fleetwright_tests::wait::{PATIENCE, holds_throughout, wait_until};
use serde_json::{Value, json};

use super::{bulk_on, counters, enrolled};

fn progress(fleet: &TestFleet, id: &str) -> Value {
    fleet
        .admin
        .get(&format!("/fleet/bulk/{id}/progress"))
        .expect(200)
}

fn post(fleet: &TestFleet, id: &str, verb: &str, body: &Value) -> fleetwright_tests::http::Answer {
    fleet.admin.post(&format!("/fleet/bulk/{id}/{verb}"), body)
}

fn wait_running(fleet: &TestFleet, id: &str, running: u64) {
    wait_until(&format!("{running} running"), PATIENCE, || {
        number(&progress(fleet, id), "running") == running
    });
}

#[test]
fn a_paused_operation_starts_nothing_and_a_resumed_one_ends() {
    let fleet = Setup::pro().start();
    let (mut crowd, identities) = enrolled(&fleet, "web", 12);
    crowd.connect(&identities, Behaviour::Hold);
    let id = fleet
        .admin
        .bulk(&bulk_on("web", json!({"max_concurrency": 3})));
    wait_running(&fleet, &id, 3);
    post(&fleet, &id, "pause", &json!({})).expect(200);
    assert_eq!(
        post(&fleet, &id, "pause", &json!({})).status,
        200,
        "pausing twice changes nothing"
    );
    crowd.release();
    wait_until("the running ones to end", PATIENCE, || {
        number(&progress(&fleet, &id), "succeeded") == 3
    });
    holds_throughout(
        "nothing starts while paused",
        Duration::from_millis(800),
        || crowd.counters().started.load(Ordering::Relaxed) == 3,
    );
    post(&fleet, &id, "resume", &json!({})).expect(200);
    assert_eq!(counters(&fleet.admin.wait_bulk(&id)), [12, 0, 0, 0, 0]);
    for verb in ["pause", "resume", "cancel"] {
        let late = post(&fleet, &id, verb, &json!({}));
        assert_eq!(
            (late.status, late.code().as_str()),
            (409, "invalid-transition"),
            "{verb}"
        );
    }
}

#[test]
fn a_cancel_skips_the_waiting_and_lets_the_running_finish() {
    let fleet = Setup::pro().start();
    let (mut crowd, identities) = enrolled(&fleet, "web", 10);
    crowd.connect(&identities, Behaviour::Hold);
    let id = fleet
        .admin
        .bulk(&bulk_on("web", json!({"max_concurrency": 4})));
    wait_running(&fleet, &id, 4);
    post(&fleet, &id, "cancel", &json!({})).expect(200);
    let started = crowd.counters().started.load(Ordering::Relaxed);
    wait_until("the waiting ones to be skipped", PATIENCE, || {
        number(&progress(&fleet, &id), "skipped") == 6
    });
    crowd.release();
    let done = fleet.admin.wait_bulk(&id);
    assert_eq!(counters(&done), [4, 0, 0, 0, 6]);
    assert_eq!(done["status"], "cancelled");
    assert_eq!(
        crowd.counters().started.load(Ordering::Relaxed),
        started,
        "something started after the cancel"
    );
    let skipped = fleet
        .admin
        .all(&format!("/fleet/bulk/{id}/hosts?status=skipped"));
    assert!(skipped.iter().all(|host| host["reason"] == "cancelled"));
}

#[test]
fn a_cancel_with_kill_ends_the_running_too() {
    let fleet = Setup::pro().start();
    let (mut crowd, identities) = enrolled(&fleet, "web", 6);
    crowd.connect(&identities, Behaviour::Hold);
    let id = fleet
        .admin
        .bulk(&bulk_on("web", json!({"max_concurrency": 2})));
    wait_running(&fleet, &id, 2);
    post(&fleet, &id, "cancel", &json!({"running": "kill"})).expect(200);
    let done = fleet.admin.wait_bulk(&id);
    assert_eq!(counters(&done), [0, 2, 0, 0, 4]);
    assert_eq!(done["status"], "cancelled");
}

#[test]
fn a_cancel_of_some_hosts_leaves_the_others() {
    let fleet = Setup::pro().start();
    let (mut crowd, identities) = enrolled(&fleet, "web", 5);
    let (on, off) = identities.split_at(3);
    crowd.connect(on, Behaviour::Succeed(Duration::ZERO));
    let id = fleet.admin.bulk(&bulk_on("web", json!({})));
    let ids: Vec<String> = off.iter().map(|host| host.host_id.to_string()).collect();
    let body = json!({"selector": {"explicit_host_ids": ids}});
    post(&fleet, &id, "cancel", &body).expect(200);
    let done = fleet.admin.wait_bulk(&id);
    assert_eq!(counters(&done), [3, 0, 0, 0, 2]);
    assert_eq!(done["status"], "partial", "only some hosts were cancelled");
}

#[test]
fn a_cancel_that_comes_when_all_others_run_does_not_make_it_cancelled() {
    let fleet = Setup::pro().start();
    let (mut crowd, identities) = enrolled(&fleet, "web", 5);
    let (on, off) = identities.split_at(4);
    crowd.connect(on, Behaviour::Hold);
    let id = fleet.admin.bulk(&bulk_on("web", json!({})));
    wait_running(&fleet, &id, 4);
    let one = json!({"selector": {"explicit_host_ids": [off[0].host_id]}});
    post(&fleet, &id, "cancel", &one).expect(200);
    post(&fleet, &id, "cancel", &json!({})).expect(200);
    crowd.release();
    let done = fleet.admin.wait_bulk(&id);
    assert_eq!(counters(&done), [4, 0, 0, 0, 1]);
    assert_eq!(done["status"], "partial", "the whole cancel skipped nobody");
}

#[test]
fn a_retry_runs_only_what_failed_and_names_its_parent() {
    let fleet = Setup::pro().start();
    let (mut crowd, identities) = enrolled(&fleet, "web", 6);
    let (good, bad) = identities.split_at(4);
    crowd.connect(good, Behaviour::Succeed(Duration::ZERO));
    crowd.connect(bad, Behaviour::Fail(Duration::ZERO));
    let id = fleet.admin.bulk(&bulk_on("web", json!({})));
    assert_eq!(counters(&fleet.admin.wait_bulk(&id)), [4, 2, 0, 0, 0]);
    let retried = post(&fleet, &id, "retry", &json!({"statuses": ["failed"]})).expect(202);
    assert_eq!(text(&retried, "parent_id"), id);
    let again = text(&retried, "id");
    assert_eq!(counters(&fleet.admin.wait_bulk(&again)), [0, 2, 0, 0, 0]);
    let mut hosts: Vec<String> = fleet
        .admin
        .bulk_hosts(&again)
        .iter()
        .map(|host| text(host, "host_id"))
        .collect();
    let mut expected: Vec<String> = bad.iter().map(|host| host.host_id.to_string()).collect();
    hosts.sort();
    expected.sort();
    assert_eq!(hosts, expected);
    // The first operation is as it was.
    assert_eq!(
        counters(&fleet.admin.get(&format!("/fleet/bulk/{id}")).expect(200)),
        [4, 2, 0, 0, 0]
    );
}

#[test]
fn offline_hosts_wait_without_a_slot_or_are_skipped_as_asked() {
    let fleet = Setup::pro().start();
    let (mut crowd, identities) = enrolled(&fleet, "web", 4);
    let (on, off) = identities.split_at(2);
    crowd.connect(on, Behaviour::Succeed(Duration::ZERO));
    let skipping = fleet
        .admin
        .bulk(&bulk_on("web", json!({"offline": "skip"})));
    let done = fleet.admin.wait_bulk(&skipping);
    assert_eq!(counters(&done), [2, 0, 0, 0, 2]);
    let skipped = fleet
        .admin
        .all(&format!("/fleet/bulk/{skipping}/hosts?status=skipped"));
    assert!(skipped.iter().all(|host| host["reason"] == "offline"));
    let waiting = fleet
        .admin
        .bulk(&bulk_on("web", json!({"max_concurrency": 1})));
    wait_until("the online ones to be done", PATIENCE, || {
        counters(&progress(&fleet, &waiting)) == [2, 0, 0, 2, 0]
    });
    crowd.connect(off, Behaviour::Succeed(Duration::ZERO));
    assert_eq!(counters(&fleet.admin.wait_bulk(&waiting)), [4, 0, 0, 0, 0]);
}

#[test]
fn a_host_that_never_comes_expires() {
    let fleet = Setup::pro().start();
    let (_crowd, _identities) = enrolled(&fleet, "web", 2);
    let id = fleet
        .admin
        .bulk(&bulk_on("web", json!({"expires_in_seconds": 2})));
    let done = fleet.admin.wait_bulk(&id);
    assert_eq!(counters(&done), [0, 0, 0, 0, 2]);
    assert!(
        fleet
            .admin
            .bulk_hosts(&id)
            .iter()
            .all(|host| host["reason"] == "expired")
    );
}
