//! With both switches off: nobody loses a seat, and no budget keeps anything from being claimed; what was spent is counted.

use fleetwright_tests::fleet::Setup;
use serde_json::json;

use super::data;
use super::worker::{Worker, ceiling, job, submit, wait_checkpoint, wait_stage};

#[test]
fn switched_off_nothing_is_preempted_and_no_budget_pauses() {
    let fleet = Setup::pro().start();
    ceiling(&fleet, "app", "0.25");
    let worker = Worker::start(&fleet, "w1", &[]);
    for spent in ["0.25", "0.5", "0.75"] {
        let id = submit(&fleet, "ship", &["--product", "app", "--estimate", "5"]);
        wait_stage(&fleet, &id, "shipped");
        let budget = data(&fleet, &["budgets", "show", "app"]);
        let expected = (json!(spent), json!("0"), json!(null));
        let found = ["spent_usd", "reserved_usd", "paused_by"].map(|name| budget[name].clone());
        assert_eq!(found, <[_; 3]>::from(expected));
    }
    let slow = submit(&fleet, "slow", &["--priority", "low"]);
    wait_checkpoint(&fleet, &slow, "begun");
    let critical = submit(&fleet, "ship", &["--priority", "critical"]);
    // As its worker does every few seconds.
    let factory = &data(&fleet, &["factories", "list"])[0]["id"];
    let body = json!({"factory_id": factory});
    let claimed = fleet.admin.post("/fleet/jobs/claim", &body);
    assert_eq!(claimed.status, 204, "{}", claimed.text());
    assert_eq!(job(&fleet, &critical)["stage"], "queued");
    worker.go();
    wait_stage(&fleet, &critical, "shipped");
    let slow = wait_stage(&fleet, &slow, "shipped");
    assert_eq!(
        (&slow["preemptions"], &slow["lease_epoch"]),
        (&json!(0), &json!(1))
    );
}
