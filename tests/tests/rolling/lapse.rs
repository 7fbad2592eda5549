//! A licence that ends while a deployment is under way.

use fleetwright_tests::databases::Engine;
use fleetwright_tests::wait::{PATIENCE, wait_until};
use serde_json::json;

use super::{Site, wait_over, wait_status};

#[test]
fn a_lapsed_licence_lets_a_deployment_finish_and_refuses_the_next() {
    let site = Site::new(Engine::Sqlite, 2);
    let admin = &site.fleet.admin;
    let body = site.body(
        "lapse",
        &[],
        json!({"batch_size": 1, "require_approval": "each"}),
    );
    let id = site.deploy(&body);
    wait_status(admin, &id, "awaiting_approval");
    site.fleet
        .install_license(&["--all-features", "--days", "0", "--grace-days", "0"]);
    // Asked with plans, so that asking makes no deployments of its own.
    let plan = site.body("never", &[], json!({"batch_size": 1, "plan_only": true}));
    wait_until("new work to be refused", PATIENCE, || {
        admin.post("/fleet/rolling", &plan).status == 402
    });
    assert_eq!(admin.post("/fleet/rolling", &body).status, 402);
    admin
        .post(
            &format!("/fleet/rolling/{id}/approve"),
            &json!({"batch": 2}),
        )
        .expect(200);
    assert_eq!(wait_over(admin, &id)["status"], "succeeded");
    assert_eq!(site.started("lapse"), site.names);
}
