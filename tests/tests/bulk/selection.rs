//! What is selected is frozen; what selects nothing, or something else than expected, starts nothing.

use std::time::Duration;

use fleetwright_tests::client::{number, text};
use fleetwright_tests::fleet::Setup;
use fleetwright_tests::load::agent::Behaviour;
use serde_json::{Value, json};

use super::{bulk_on, counters, enrolled};

#[test]
fn the_selection_is_frozen_when_the_operation_is_accepted() {
    let fleet = Setup::pro().start();
    let (mut crowd, identities) = enrolled(&fleet, "web", 3);
    let id = fleet.admin.bulk(&bulk_on("web", json!({})));
    // Two hosts more that match, and one that matches no longer.
    let (mut later, late) = enrolled(&fleet, "web", 2);
    let first = identities[0].host_id;
    fleet
        .admin
        .patch(&format!("/hosts/{first}"), &json!({"tags": []}))
        .expect(200);
    later.connect(&late, Behaviour::Succeed(Duration::ZERO));
    crowd.connect(&identities, Behaviour::Succeed(Duration::ZERO));
    assert_eq!(counters(&fleet.admin.wait_bulk(&id)), [3, 0, 0, 0, 0]);
    let mut hosts: Vec<String> = fleet
        .admin
        .bulk_hosts(&id)
        .iter()
        .map(|host| text(host, "host_id"))
        .collect();
    let mut expected: Vec<String> = identities
        .iter()
        .map(|host| host.host_id.to_string())
        .collect();
    hosts.sort();
    expected.sort();
    assert_eq!(hosts, expected);
    let started = later
        .counters()
        .started
        .load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(started, 0, "a host outside the frozen set ran something");
}

#[test]
fn a_selection_sees_every_change_acknowledged_before_it() {
    let fleet = Setup::pro().start();
    let (_crowd, identities) = enrolled(&fleet, "x", 1);
    let id = identities[0].host_id;
    for turn in 0..20 {
        let tag = format!("turn-{turn}");
        fleet
            .admin
            .patch(&format!("/hosts/{id}"), &json!({"tags": [tag]}))
            .expect(200);
        let found = fleet
            .admin
            .post("/fleet/select", &json!({"tags": [tag]}))
            .expect(200);
        assert_eq!(number(&found, "count"), 1, "turn {turn}: {found}");
    }
}

#[test]
fn selectors_that_say_nothing_or_nonsense_are_refused_at_their_place() {
    let fleet = Setup::pro().start();
    let cases = [
        (json!({}), "selector-empty"),
        (json!({"tags": []}), "selector-empty"),
        (
            json!({"criteria": [{"field": "colour", "op": "equals", "value": "red"}]}),
            "selector-",
        ),
        (
            json!({"criteria": [{"field": "fqdn", "op": "resembles", "value": "x"}]}),
            "selector-",
        ),
        (
            json!({"criteria": [{"field": "fqdn", "op": "in", "value": "x"}]}),
            "selector-",
        ),
        (
            json!({"criteria": [{"field": "fqdn", "op": "gt", "value": "x"}]}),
            "selector-",
        ),
        (
            json!({"criteria": [{"field": "fqdn", "op": "matches", "value": "("}]}),
            "selector-",
        ),
        (
            json!({"criteria": [{"field": "fqdn", "op": "matches", "value": "x".repeat(10_000)}]}),
            "selector-",
        ),
        (json!({"expression": "platform = linux and ("}), "selector-"),
        (json!({"groups": ["no such group"]}), "group"),
    ];
    for (selector, code) in cases {
        for (path, prefix, body) in [
            ("/fleet/select", "", selector.clone()),
            ("/fleet/bulk", "/selector", {
                let mut body = bulk_on("x", json!({}));
                body["selector"] = selector.clone();
                body
            }),
        ] {
            let answer = fleet.admin.post(path, &body);
            assert_eq!(answer.status, 422, "{path} {selector}: {}", answer.text());
            let errors = answer.json()["errors"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let fits = |error: &Value| {
                let found = text(error, "code");
                let place = text(error, "pointer");
                found.contains(code) && place.starts_with(prefix)
            };
            assert!(
                errors.iter().any(fits),
                "{path} {selector}: {}",
                answer.text()
            );
        }
    }
    assert_eq!(fleet.admin.all("/fleet/bulk"), Vec::<Value>::new());
}

#[test]
fn an_evil_regex_is_linear() {
    let fleet = Setup::pro().start();
    let (_crowd, identities) = enrolled(&fleet, "x", 1);
    let id = identities[0].host_id;
    let long = "a".repeat(500) + "!";
    fleet
        .admin
        .patch(
            &format!("/hosts/{id}"),
            &json!({"attributes": {"note": long}}),
        )
        .expect(200);
    let body =
        json!({"criteria": [{"field": "attributes.note", "op": "matches", "value": "^(a+)+$"}]});
    let found = fleet.admin.post("/fleet/select", &body).expect(200);
    assert_eq!(number(&found, "count"), 0);
}

#[test]
fn nothing_selected_and_something_else_selected_create_nothing() {
    let fleet = Setup::pro().start();
    let (_crowd, identities) = enrolled(&fleet, "web", 3);
    let empty = fleet
        .admin
        .post("/fleet/bulk", &bulk_on("nobody", json!({})));
    assert_eq!(
        (empty.status, empty.code().as_str()),
        (422, "selection-empty"),
        "{}",
        empty.text()
    );
    let other = fleet
        .admin
        .post("/fleet/bulk", &bulk_on("web", json!({"expected_count": 2})));
    assert_eq!(
        (other.status, other.code().as_str()),
        (409, "selection-changed"),
        "{}",
        other.text()
    );
    let digest = text(
        &fleet
            .admin
            .post("/fleet/select", &json!({"tags": ["web"]}))
            .expect(200),
        "digest",
    );
    let mut ids: Vec<_> = identities.iter().map(|host| host.host_id).collect();
    ids.sort();
    let bytes: Vec<u8> = ids.iter().flat_map(|id| *id.as_bytes()).collect();
    let expected = format!(
        "sha256:{}",
        hex::encode(<sha2::Sha256 as sha2::Digest>::digest(bytes))
    );
    assert_eq!(digest, expected);
    assert_eq!(fleet.admin.all("/fleet/bulk"), Vec::<Value>::new());
    let right = fleet.admin.post(
        "/fleet/bulk",
        &bulk_on("web", json!({"expected_digest": digest})),
    );
    assert_eq!(right.status, 202, "{}", right.text());
}

#[test]
fn a_plan_shows_what_would_be_and_stores_nothing() {
    let fleet = Setup::pro().start();
    let (_crowd, _identities) = enrolled(&fleet, "web", 3);
    let planned = fleet
        .admin
        .post("/fleet/bulk", &bulk_on("web", json!({"plan_only": true})))
        .expect(200);
    assert_eq!(number(&planned, "total"), 3);
    assert_eq!(planned["hosts"].as_array().unwrap().len(), 3);
    assert_eq!(fleet.admin.all("/fleet/bulk"), Vec::<Value>::new());
}

#[test]
fn a_host_deleted_before_its_turn_is_skipped_and_blocks_nothing() {
    let fleet = Setup::pro().start();
    let (mut crowd, identities) = enrolled(&fleet, "web", 3);
    let id = fleet.admin.bulk(&bulk_on("web", json!({})));
    let gone = identities[1].host_id;
    assert_eq!(fleet.admin.delete(&format!("/hosts/{gone}")).status, 204);
    let staying: Vec<_> = identities
        .iter()
        .filter(|host| host.host_id != gone)
        .cloned()
        .collect();
    crowd.connect(&staying, Behaviour::Succeed(Duration::ZERO));
    assert_eq!(counters(&fleet.admin.wait_bulk(&id)), [2, 0, 0, 0, 1]);
    let skipped = fleet
        .admin
        .all(&format!("/fleet/bulk/{id}/hosts?status=skipped"));
    assert_eq!(
        (&skipped[0]["host_id"], &skipped[0]["reason"]),
        (&json!(gone.to_string()), &json!("host_deleted"))
    );
}

#[test]
fn hosts_that_are_not_approved_are_skipped_with_the_reason() {
    let fleet = Setup::pro().start();
    let token = fleet.admin.enrollment_token(2, false, &["web"]);
    let (crowd, _) = enrolled(&fleet, "other", 1);
    crowd.enroll(&token, "pending", 2);
    let id = fleet.admin.bulk(&bulk_on("web", json!({})));
    let done = fleet.admin.wait_bulk(&id);
    assert_eq!(counters(&done), [0, 0, 0, 0, 2]);
    assert!(
        fleet
            .admin
            .bulk_hosts(&id)
            .iter()
            .all(|host| host["reason"] == "not_approved")
    );
}
