//! From agents' heartbeats to a VM that was placed, confirmed and released, by the command line.

use fleetwright_tests::client::{number, text};
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::wait::{PATIENCE, wait_for, wait_until};
use serde_json::{Value, json};

use super::{data, data_as, outcome, outcome_as};

/// Agents of tests say that this is free; with the headroom, 512 fit.
const AVAILABLE_MB: u64 = 1024;

fn node(fleet: &TestFleet, host: &str) -> Value {
    data(fleet, &["nodes", "show", host])
}

fn place(fleet: &TestFleet, tenant: &str, vm: &str, more: &[&str]) -> Value {
    let words = ["place", "create", "--tenant", tenant, "--vm", vm];
    data(fleet, &[&words[..], more].concat())
}

#[test]
fn a_vm_is_placed_where_there_is_room_confirmed_and_released_and_a_tenant_sees_its_own() {
    let mut fleet = Setup::pro().start();
    let (one, two) = (
        fleet.add_agent("one.test", &[]),
        fleet.add_agent("two.test", &[]),
    );
    wait_until("both nodes to be ready", PATIENCE, || {
        let status = data(&fleet, &["nodes", "status"]);
        status["nodes"]["ready"] == 2
    });
    assert_eq!(
        number(&node(&fleet, "one.test"), "memory_available_mb"),
        AVAILABLE_MB
    );

    // Only where no other fits.
    data(&fleet, &["nodes", "reserve", "two.test"]);
    let first = place(&fleet, "acme", "a1", &["--memory", "512"]);
    assert_eq!(
        (&first["node_id"], &first["pass"]),
        (&json!(one), &json!(1))
    );
    assert_eq!(number(&node(&fleet, "one.test"), "held_mb"), 512);
    let second = place(&fleet, "other", "b1", &["--memory", "512"]);
    assert_eq!(
        (&second["node_id"], &second["pass"]),
        (&json!(two), &json!(2))
    );
    let full = outcome(
        &fleet,
        &["place", "create", "--tenant", "acme", "--memory", "1"],
    );
    assert_eq!(full.0, Some(3), "{}", full.1);
    assert!(full.1.contains("no-capacity"), "{}", full.1);

    let id = text(&first, "id");
    let confirmed = data(&fleet, &["place", "confirm", &id]);
    assert_eq!(confirmed["state"], "confirmed");
    let listed = outcome(&fleet, &["place", "list"]);
    let row = |line: &str| line.contains(&id) && line.contains("confirmed");
    assert!(listed.1.lines().any(row), "{}", listed.1);

    of_a_tenant(&fleet, &first, &second);

    data(&fleet, &["place", "release", &id]);
    data(&fleet, &["place", "release", &id]);
    assert_eq!(data(&fleet, &["place", "show", &id])["state"], "released");
    let free = wait_for("its capacity to be free", PATIENCE, || {
        Some(node(&fleet, "one.test")).filter(|node| node["held_mb"] == 0)
    });
    assert_eq!(free["vms"], json!([]));
    data(&fleet, &["nodes", "drain", "one.test"]);
    let drained = outcome(
        &fleet,
        &["place", "create", "--tenant", "acme", "--memory", "1"],
    );
    assert!(
        drained.0 == Some(3) && drained.1.contains("no-capacity"),
        "{}",
        drained.1
    );
    data(&fleet, &["nodes", "drain", "one.test", "--undo"]);
    let again = place(&fleet, "acme", "a2", &["--memory", "512"]);
    assert_eq!(again["node_id"], json!(one));
}

/// A token bound to a tenant: its own, and nothing else.
fn of_a_tenant(fleet: &TestFleet, own: &Value, other: &Value) {
    let words = [
        "tokens", "create", "acme", "--role", "operator", "--tenant", "acme", "--quiet",
    ];
    let made = outcome(fleet, &words);
    assert_eq!(made.0, Some(0), "{}", made.1);
    let token = made.1.trim().to_owned();
    let listed = data_as(fleet, &token, &["place", "list"]);
    let ids: Vec<&Value> = listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| &one["id"])
        .collect();
    assert_eq!(ids, [&own["id"]]);
    let (own, other) = (text(own, "id"), text(other, "id"));
    assert_eq!(
        data_as(fleet, &token, &["place", "show", &own])["id"],
        json!(own)
    );
    for words in [
        &["place", "show", &other][..],
        &["place", "confirm", &other],
        &["--yes", "place", "release", &other],
        &["place", "create", "--tenant", "other", "--memory", "1"],
    ] {
        let refused = outcome_as(fleet, &token, words);
        assert!(
            refused.0 == Some(3) && refused.1.contains("(404"),
            "{words:?}: {}",
            refused.1
        );
    }
    for words in [
        &["hosts", "list"][..],
        &["nodes", "drain", "one.test"],
        &["budgets", "list"],
    ] {
        let refused = outcome_as(fleet, &token, words);
        assert!(
            refused.0 == Some(3) && refused.1.contains("(403"),
            "{words:?}: {}",
            refused.1
        );
    }
}
