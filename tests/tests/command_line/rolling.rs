//! Rolling deployments as a person at a terminal and a pipeline see them.

use fleetwright_tests::client::text;
use fleetwright_tests::fleet::TestFleet;
use fleetwright_tests::process::Process;
use fleetwright_tests::wait::{PATIENCE, wait_for, wait_until};
use serde_json::{Value, json};

use super::{data, fleet, fleetwright, on_terminal, outcome, told};

/// A bar that is full.
fn full_bar() -> String {
    "━".repeat(30)
}

/// The newest deployment once it has this status.
fn wait_newest(fleet: &TestFleet, status: &str) -> String {
    wait_for(&format!("a deployment to be {status}"), PATIENCE, || {
        let newest = fleet.admin.all("/fleet/rolling").into_iter().next()?;
        (newest["status"] == status).then(|| text(&newest, "id"))
    })
}

fn words(list: &Value, name: &str) -> Vec<String> {
    let items = list.as_array().expect("a list");
    items.iter().map(|item| text(item, name)).collect()
}

#[test]
fn a_deployment_is_watched_as_bars_and_steered_from_another_terminal() {
    let fleet = fleet();
    let create = [
        "rolling",
        "create",
        "tags contains web",
        "--batch-size",
        "2",
    ];
    let more = ["--require-approval", "first", "--yes", "--", "true"];
    let command = on_terminal(&fleet, &[&create[..], &more].concat());
    let mut watch = Process::spawn("the watch", &command, &fleet.path("watch.log"));
    let id = wait_newest(&fleet, "awaiting_approval");
    let advice = format!("batch 2 waits: fleetwright rolling approve {id}");
    let first = format!("   1  {}  2/2", full_bar());
    wait_until("the watch to say what to type", PATIENCE, || {
        let shown = watch.log();
        shown.contains(&advice) && shown.contains(&first)
    });
    let steer = |verb: &str| text(&data(&fleet, &["rolling", verb, &id]), "status");
    assert_eq!(steer("pause"), "paused");
    let while_paused = outcome(&fleet, &["rolling", "approve", &id, "--yes"]);
    assert_eq!(while_paused.0, Some(3), "{}", while_paused.1);
    assert_eq!(steer("resume"), "awaiting_approval");
    let batches = data(&fleet, &["rolling", "batches", &id]);
    assert_eq!(words(&batches, "status"), ["finished", "pending"]);
    let unasked = outcome(&fleet, &["rolling", "approve", &id]);
    assert_eq!(unasked.0, Some(2), "{}", unasked.1);
    assert!(
        unasked
            .1
            .contains("Let batch 2 begin? So far 2 succeeded, 0 failed.")
    );
    assert!(watch.ended().is_none());
    assert_eq!(steer("approve"), "running");
    let status = wait_for("the watch to end", PATIENCE, || watch.ended());
    let shown = watch.log();
    assert_eq!(status.code(), Some(0), "{shown}");
    assert!(
        shown.contains(&format!("   2  {}  2/2", full_bar())),
        "{shown}"
    );
    assert!(
        shown.contains("succeeded: 4 succeeded of 4 hosts"),
        "{shown}"
    );
    let trace = data(&fleet, &["rolling", "trace", &id]);
    let causes = [
        "batch_dispatched",
        "approval_required",
        "paused_by_operator",
        "resumed_by_operator",
        "approved",
        "all_hosts_finished",
    ];
    assert_eq!(words(&trace, "cause"), causes);
    let listed = data(&fleet, &["rolling", "list", "--status", "succeeded"]);
    assert_eq!(words(&listed, "id"), [id]);
}

#[test]
fn a_deployment_that_halts_names_the_failed_host_and_exits_with_1() {
    let fleet = fleet();
    let script = "case \"$0\" in *agent-b.test*) echo broken; exit 7;; esac";
    let create = ["rolling", "create", "tags contains web", "--yes"];
    let more = [
        "--batches",
        "25%,50%,100%",
        "--threshold",
        "0",
        "--",
        script,
    ];
    let command = on_terminal(&fleet, &[&create[..], &more].concat());
    let mut watch = Process::spawn("the watch", &command, &fleet.path("watch.log"));
    let status = wait_for("the watch to end", PATIENCE, || watch.ended());
    let shown = watch.log();
    assert_eq!(status.code(), Some(1), "{shown}");
    assert!(
        shown.contains(&format!("   1  {}  1/1", full_bar())),
        "{shown}"
    );
    assert!(shown.contains(&format!("   2  {}  1/1  1 failed", full_bar())));
    assert!(shown.contains("2/2  2 skipped"), "{shown}");
    assert!(shown.contains("failed b.test  exit_code"), "{shown}");
    assert!(shown.contains("failed: 1 succeeded, 1 failed, 2 skipped of 4 hosts"));
    let id = wait_newest(&fleet, "failed");
    let hosts = data(&fleet, &["rolling", "hosts", &id, "--status", "failed"]);
    assert_eq!(words(&hosts, "reason"), ["exit_code"]);
    assert_eq!(hosts[0]["exit_code"], 7);
    let printed = outcome(&fleet, &["rolling", "output", &id, "b.test"]);
    assert!(printed.1.contains("broken"), "{}", printed.1);
    // In a pipeline the same is told in lines, and as one document on request.
    let again = outcome(&fleet, &["rolling", "watch", &id]);
    assert_eq!(again.0, Some(1), "{}", again.1);
    let row = |line: &str| line.starts_with("b.test ") && line.contains("exit_code");
    assert!(again.1.lines().any(row), "{}", again.1);
    let output = fleetwright(&fleet, &["rolling", "watch", &id, "--output", "json"]);
    let document: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(
        document["operation"]["status"],
        "failed",
        "{}",
        told(&output)
    );
    assert_eq!(document["hosts"].as_array().map(Vec::len), Some(4));
}

#[test]
fn a_deployment_that_is_cancelled_starts_nothing_more_and_its_watch_exits_with_1() {
    let fleet = fleet();
    let create = [
        "rolling",
        "create",
        "tags contains web",
        "--batch-size",
        "2",
    ];
    let more = ["--require-approval", "each", "--detach", "--", "true"];
    let made = data(&fleet, &[&create[..], &more].concat());
    let id = text(&made, "id");
    assert_eq!(wait_newest(&fleet, "awaiting_approval"), id);
    let command = on_terminal(&fleet, &["rolling", "watch", &id]);
    let mut watch = Process::spawn("the watch", &command, &fleet.path("watch.log"));
    wait_until("the watch to say what waits", PATIENCE, || {
        watch.log().contains("batch 2 waits")
    });
    let unasked = outcome(&fleet, &["rolling", "cancel", &id]);
    assert_eq!(unasked.0, Some(2), "{}", unasked.1);
    let cancelled = data(&fleet, &["rolling", "cancel", &id]);
    assert_eq!(cancelled["id"], json!(id));
    let status = wait_for("the watch to end", PATIENCE, || watch.ended());
    assert_eq!(status.code(), Some(1), "{}", watch.log());
    assert!(
        watch
            .log()
            .contains("cancelled: 2 succeeded, 2 skipped of 4 hosts"),
        "{}",
        watch.log()
    );
    let late = outcome(&fleet, &["rolling", "resume", &id]);
    assert_eq!(late.0, Some(3), "{}", late.1);
    let late = outcome(&fleet, &["rolling", "approve", &id, "--yes"]);
    assert_eq!(late.0, Some(2), "{}", late.1);
    assert!(
        late.1.contains("nothing waits for an approval"),
        "{}",
        late.1
    );
}
