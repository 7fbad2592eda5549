//! `factory run`, from a job's claim to what becomes of it, with both switches on.

use fleetwright_tests::client::number;
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::wait::{PATIENCE, wait_for, wait_until};
use rustix::process::Signal;
use serde_json::json;

use super::worker::{
    Worker, assert_tidy, ceiling, command, events, job, submit, wait_checkpoint, wait_job,
    wait_stage,
};
use super::{data, outcome, told};

fn fleet() -> TestFleet {
    Setup::pro()
        .with("preemption = true")
        .with("budgets = true")
        .start()
}

#[test]
fn one_job_ships_one_fails_one_is_preempted_and_comes_back_and_a_budget_pauses() {
    let fleet = fleet();
    ceiling(&fleet, "app", "0.25");
    let worker = Worker::start(&fleet, "w1", &[]);

    let shipped = submit(&fleet, "ship", &["--product", "app"]);
    let shipped = wait_stage(&fleet, &shipped, "shipped");
    assert_eq!(shipped["artifacts"][0]["name"], "app.tar");
    assert_eq!(shipped["artifacts"][0]["data"], json!({"bytes": 7}));
    let run = &shipped["runs"][0];
    assert_eq!(
        (&run["outcome"], &run["data"]["exit_code"]),
        (&json!("shipped"), &json!(0))
    );
    assert_eq!(shipped["attempts"], 0);

    let budget = data(&fleet, &["budgets", "show", "app"]);
    assert_eq!(
        (&budget["spent_usd"], &budget["paused_by"]),
        (&json!("0.25"), &json!("ceiling"))
    );
    let waits = submit(&fleet, "ship", &["--product", "app", "--priority", "high"]);

    // Claimed although another one, of higher priority, was there before.
    let failed = submit(&fleet, "fail", &[]);
    let failed = wait_stage(&fleet, &failed, "failed");
    assert_eq!(failed["reason"], "exit 3: no such branch");
    assert_eq!(
        (&failed["attempts"], &failed["runs"][0]["outcome"]),
        (&json!(1), &json!("failed"))
    );
    assert_eq!(job(&fleet, &waits)["stage"], "queued");

    let victim = submit(&fleet, "long", &["--priority", "low"]);
    wait_checkpoint(&fleet, &victim, "half");
    let critical = submit(&fleet, "ship", &["--priority", "critical"]);
    wait_stage(&fleet, &critical, "shipped");
    let victim = wait_stage(&fleet, &victim, "shipped");
    assert_eq!(
        (&victim["attempts"], &victim["preemptions"]),
        (&json!(0), &json!(1))
    );
    let told = events(&victim);
    assert_eq!(
        told.iter().filter(|kind| *kind == "preempted").count(),
        1,
        "{told:?}"
    );
    assert_eq!(
        told.iter().filter(|kind| *kind == "claimed").count(),
        2,
        "{told:?}"
    );
    assert_tidy(&fleet, &worker, victim["id"].as_str().expect("an id"));

    assert_eq!(job(&fleet, &waits)["stage"], "queued");
    let explained = outcome(&fleet, &["jobs", "explain", "w1"]);
    assert!(explained.1.contains("used up: app"), "{}", explained.1);
    ceiling(&fleet, "app", "1");
    wait_stage(&fleet, &waits, "shipped");
    let budget = data(&fleet, &["budgets", "show", "app"]);
    assert_eq!(
        (&budget["spent_usd"], &budget["paused_by"]),
        (&json!("0.5"), &json!(null))
    );
    let listed = outcome(&fleet, &["factories", "list"]);
    let row = |line: &str| line.starts_with("w1 ") && line.contains("live") && line.contains("0/1");
    assert!(listed.1.lines().any(row), "{}", listed.1);
}

#[test]
fn what_a_stopped_worker_cannot_finish_is_given_back_with_its_checkpoint() {
    let fleet = fleet();
    let mut worker = Worker::start(&fleet, "w1", &["--grace", "0"]);
    let id = submit(&fleet, "long", &[]);
    wait_checkpoint(&fleet, &id, "half");
    wait_until("its child to run", PATIENCE, || worker.runs(&id));
    let status = worker.process.stop();
    assert_eq!(status.code(), Some(0), "{}", worker.process.log());
    let given_back = job(&fleet, &id);
    assert_eq!(
        (
            &given_back["stage"],
            &given_back["checkpoint"],
            &given_back["attempts"]
        ),
        (&json!("queued"), &json!("half"), &json!(0))
    );
    assert_eq!(given_back["runs"][0]["outcome"], "released");
    assert_tidy(&fleet, &worker, &id);

    // What is killed leaves its job, which the next one of its name gives back before it claims.
    let mut worker = Worker::start(&fleet, "w2", &[]);
    wait_stage(&fleet, &id, "shipped");
    let slow = submit(&fleet, "slow", &[]);
    wait_checkpoint(&fleet, &slow, "begun");
    worker.process.kill();
    worker.go();
    let worker = Worker::start(&fleet, "w2", &[]);
    let done = wait_stage(&fleet, &slow, "shipped");
    assert_eq!(done["attempts"], 0, "{}", worker.process.log());
    assert!(
        worker.process.log().contains("held from before"),
        "{}",
        worker.process.log()
    );
}

#[test]
fn a_second_signal_ends_a_worker_and_all_it_started_at_once() {
    let fleet = fleet();
    let mut worker = Worker::start(&fleet, "w1", &["--grace", "600"]);
    let id = submit(&fleet, "long", &[]);
    wait_until("its child to run", PATIENCE, || worker.runs(&id));
    worker.process.signal(Signal::INT);
    wait_until("it to stop", PATIENCE, || {
        worker.process.log().contains("stopping")
    });
    assert!(worker.runs(&id));
    worker.process.signal(Signal::INT);
    let status = wait_for("it to end", PATIENCE, || worker.process.ended());
    assert_eq!(status.code(), Some(130));
    wait_until("its child to be gone", PATIENCE, || !worker.runs(&id));
    assert_eq!(job(&fleet, &id)["stage"], "building");
}

#[test]
fn a_cancelled_job_is_ended_and_a_server_that_was_away_loses_none() {
    let mut fleet = fleet();
    let worker = Worker::start(&fleet, "w1", &["--seats", "2"]);
    let cancelled = submit(&fleet, "long", &[]);
    let slow = submit(&fleet, "slow", &[]);
    wait_checkpoint(&fleet, &cancelled, "half");
    wait_checkpoint(&fleet, &slow, "begun");
    wait_until("its child to run", PATIENCE, || worker.runs(&cancelled));
    data(&fleet, &["jobs", "cancel", &cancelled]);
    wait_until("its child to be ended", PATIENCE, || {
        !worker.runs(&cancelled)
    });

    fleet.server.kill();
    worker.go();
    wait_until("it to miss the server", PATIENCE, || {
        worker.process.log().contains("waiting")
    });
    fleet.server.launch();
    fleet.server.wait_ready();
    let done = wait_stage(&fleet, &slow, "shipped");
    assert_eq!(
        (&done["attempts"], number(&done, "lease_epoch")),
        (&json!(0), 1),
        "{}",
        worker.process.log()
    );
    assert_eq!(job(&fleet, &cancelled)["stage"], "cancelled");
}

#[test]
fn a_worker_for_a_script_ends_when_nothing_is_left_and_says_whether_all_shipped() {
    let fleet = fleet();
    let once = || {
        let output = command(&fleet, &["--name", "w1", "--once", "-c", "linux"]).output();
        let output = output.expect("it can be run");
        (output.status.code(), told(&output))
    };
    assert_eq!(once().0, Some(0));
    let child = submit(&fleet, "ship", &["--capability", "linux"]);
    let parent = submit(&fleet, "ship", &["--depends-on", &child]);
    let other = submit(&fleet, "ship", &["--capability", "windows"]);
    let drawn = outcome(&fleet, &["jobs", "dag", &parent]);
    let lines: Vec<&str> = drawn.1.lines().collect();
    assert!(
        matches!(lines.as_slice(), [first, second] if first.starts_with("blocked  ship")
            && second.starts_with("└─ queued  ship") && second.contains(&child)),
        "{}",
        drawn.1
    );
    let explained = outcome(&fleet, &["jobs", "explain", "w1"]);
    assert!(
        explained.1.contains(&child) && !explained.1.contains(&other),
        "{}",
        explained.1
    );
    let all = once();
    assert_eq!(all.0, Some(0), "{}", all.1);
    for (id, stage) in [
        (&child, "shipped"),
        (&parent, "shipped"),
        (&other, "queued"),
    ] {
        assert_eq!(job(&fleet, id)["stage"], stage);
    }
    submit(&fleet, "fail", &[]);
    let failed = once();
    assert_eq!(failed.0, Some(1), "{}", failed.1);
    let words = [
        "factory",
        "run",
        "--name",
        "w1",
        "--once",
        "--",
        "/no/such/program",
    ];
    let id = submit(&fleet, "ship", &[]);
    let no_program = outcome(&fleet, &words);
    assert!(
        no_program.0 == Some(3) && no_program.1.contains("/no/such/program"),
        "{}",
        no_program.1
    );
    let unharmed = wait_job(&fleet, &id, "to be given back", |job| {
        job["stage"] == "queued"
    });
    assert_eq!(unharmed["attempts"], 0);
}
