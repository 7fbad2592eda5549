//! Schedules that launch rolling deployments: real agents in batches, and a run that says what its deployment says.

use fleetwright_tests::client::{number, text};
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::wait::{PATIENCE, wait_for};
use serde_json::{Value, json};

use super::{create, hourly, only_run, restart_after_hours, runs};

const NAMES: [&str; 4] = ["a.test", "b.test", "c.test", "d.test"];

fn fleet() -> TestFleet {
    let mut fleet = Setup::pro().start();
    for name in NAMES {
        fleet.add_agent(name, &["web"]);
    }
    fleet
}

/// Fails on the host named.
fn deployment(name: &str, failing: &str, options: &Value) -> Value {
    let script = format!("case \"$0\" in *agent-{failing}*) exit 3;; esac");
    let more = json!({"kind": "rolling", "options": options, "parameters": {"script": script}});
    hourly(name, "web", more)
}

/// The deployment that a run points at.
fn of_run(fleet: &TestFleet, run: &Value) -> Value {
    let operation = &run["operation"];
    assert_eq!(operation["kind"], "rolling", "{run}");
    let href = text(operation, "href");
    let path = href.strip_prefix("/api/v1").unwrap_or(&href);
    let deployment = fleet.admin.get(path).expect(200);
    assert_eq!(deployment["id"], operation["id"]);
    deployment
}

#[test]
fn a_schedule_of_a_rolling_deployment_deploys_batch_after_batch_and_is_followed_to_its_end() {
    let mut fleet = fleet();
    let id = create(
        &fleet.admin,
        &deployment("fires", "nobody", &json!({"batch_size": 2})),
    );
    restart_after_hours(&mut fleet, 1);
    let run = only_run(&fleet, &id, &["pending", "queued", "running"]);
    assert_eq!(
        (&run["status"], &run["cause"]),
        (&json!("succeeded"), &json!("cron")),
        "{run}"
    );
    let deployment = of_run(&fleet, &run);
    assert_eq!(
        (
            number(&deployment, "succeeded"),
            number(&deployment, "batch_count")
        ),
        (4, 2),
        "{deployment}"
    );
    let path = format!("/fleet/rolling/{}/batches", text(&deployment, "id"));
    let batches = fleet.admin.all(&path);
    assert!(
        text(&batches[1], "dispatched_at") >= text(&batches[0], "finished_at"),
        "{batches:?}"
    );
    let shown = fleet
        .admin
        .get(&format!("/fleet/schedules/{id}"))
        .expect(200);
    assert_eq!(shown["last_status"], "succeeded");
    assert!(run["finished_at"].is_string(), "{run}");
}

#[test]
fn a_run_shows_that_its_deployment_waits_and_that_it_halted() {
    let fleet = fleet();
    let options = json!({"require_approval": "first", "batches": ["25%", "50%", "100%"]});
    let id = create(&fleet.admin, &deployment("halts", "b.test", &options));
    let run_path = format!("/fleet/schedules/{id}/run");
    let made = fleet.admin.post(&run_path, &json!({})).expect(202);
    let waits = only_run(&fleet, &id, &["pending", "queued", "running"]);
    assert_eq!(
        (&waits["status"], &waits["cause"], &waits["id"]),
        (&json!("awaiting_approval"), &json!("manual"), &made["id"]),
        "{waits}"
    );
    // A deployment that waits for a person is not over.
    let refused = fleet.admin.post(&run_path, &json!({}));
    assert_eq!(refused.status, 409, "{}", refused.text());
    let deployment = text(&of_run(&fleet, &waits), "id");
    fleet
        .admin
        .post(
            &format!("/fleet/rolling/{deployment}/approve"),
            &json!({"batch": 2}),
        )
        .expect(200);
    let open = ["awaiting_approval", "running"];
    let run = only_run(&fleet, &id, &open);
    assert_eq!(run["status"], "failed", "{run}");
    let halted = of_run(&fleet, &run);
    let counters = ["succeeded", "failed", "skipped"].map(|name| number(&halted, name));
    assert_eq!((&halted["status"], counters), (&json!("failed"), [1, 1, 2]));
    let shown = fleet
        .admin
        .get(&format!("/fleet/schedules/{id}"))
        .expect(200);
    assert_eq!(shown["last_status"], "failed");
    // It is over: the next run is another deployment.
    let next = fleet.admin.post(&run_path, &json!({})).expect(202);
    assert_ne!(next["id"], run["id"]);
    wait_for("the second run", PATIENCE, || {
        let runs = runs(&fleet, &id);
        assert!(runs.len() <= 2, "{runs:?}");
        (runs[0]["status"] == "awaiting_approval").then_some(())
    });
}
