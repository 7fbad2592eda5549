//! Without the module or without a licence for it.

use std::time::Duration;

use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::wait::wait_until;
use serde_json::json;

use super::outcome;

const LOADED_WITHIN: Duration = Duration::from_secs(60);

/// One route of each slice, with its feature.
const ROUTES: [(&str, &str, &str); 7] = [
    ("GET", "/fleet/nodes", "fleet_placement"),
    ("POST", "/fleet/placements", "fleet_placement"),
    ("POST", "/fleet/jobs", "fleet_placement"),
    ("POST", "/fleet/jobs/claim", "fleet_placement"),
    ("POST", "/fleet/factories", "fleet_placement"),
    ("GET", "/fleet/budgets", "fleet_budgets"),
    ("PUT", "/fleet/budgets/app", "fleet_budgets"),
];

#[track_caller]
fn assert_refused(fleet: &TestFleet, features: &[&str], reason: &str) {
    for (method, path, feature) in ROUTES {
        let request = fleet.admin.request(method, path);
        let request = if method == "GET" {
            request
        } else {
            request.json(&json!({}))
        };
        let answer = fleet.admin.send(&request);
        if features.contains(&feature) {
            let told = answer.json();
            assert_eq!(answer.status, 402, "{method} {path}: {told}");
            assert_eq!(
                (&told["feature"], &told["reason"]),
                (&json!(feature), &json!(reason))
            );
        } else {
            assert_ne!(answer.status, 402, "{method} {path}");
        }
    }
}

#[test]
fn both_features_answer_402_without_the_module_and_without_a_licence_for_them() {
    let fleet = Setup::community().start();
    assert_refused(
        &fleet,
        &["fleet_placement", "fleet_budgets"],
        "module_not_installed",
    );
    for (words, feature) in [
        (&["nodes", "list"][..], "fleet_placement"),
        (
            &["factory", "run", "--once", "--", "true"],
            "fleet_placement",
        ),
        (&["budgets", "list"], "fleet_budgets"),
    ] {
        let refused = outcome(&fleet, words);
        assert_eq!(refused.0, Some(4), "{words:?}: {}", refused.1);
        assert!(refused.1.contains(feature), "{}", refused.1);
    }

    fleet.install_module("placement");
    let reason = || fleet.admin.get("/fleet/nodes").json()["reason"].clone();
    wait_until("the module to be there", LOADED_WITHIN, || {
        reason() == "not_licensed"
    });
    assert_refused(
        &fleet,
        &["fleet_placement", "fleet_budgets"],
        "not_licensed",
    );

    fleet.install_license(&["--feature", "fleet_placement", "--days", "30"]);
    let nodes = || fleet.admin.get("/fleet/nodes").status;
    wait_until("the licence to be there", LOADED_WITHIN, || nodes() == 200);
    assert_refused(&fleet, &["fleet_budgets"], "not_licensed");
}
