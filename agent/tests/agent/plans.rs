//! Deployment plans and health checks, with real processes, files and agents that die in the middle.

mod checks;
mod crashes;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use fleetwright_protocol::frame::CommandFrame;
use fleetwright_protocol::outcome::{FailureReason, OutcomeStatus};
use fleetwright_protocol::{Outcome, ServerFrame};
use serde_json::{Value, json};

use crate::harness::{Agent, Host, command, lines, lives, pid_in, stdout, wait, write_program};

fn script(name: &str, text: &str) -> Value {
    json!({"name": name, "operation_type": "run_script", "parameters": {"script": text}})
}

fn file(name: &str, path: &Path, content: &str) -> Value {
    json!({"name": name, "operation_type": "deploy_file",
        "parameters": {"path": path, "content": content, "create_parents": true}})
}

/// The step with one more field.
fn with(mut step: Value, key: &str, value: Value) -> Value {
    step[key] = value;
    step
}

fn plan(steps: &[Value]) -> CommandFrame {
    plan_with(steps, json!({}))
}

fn plan_with(steps: &[Value], options: Value) -> CommandFrame {
    command(json!({"operation_type": "apply_deployment_plan",
        "parameters": {"steps": steps}, "options": options}))
}

fn statuses(outcome: &Outcome) -> Vec<String> {
    let steps = outcome.details.as_ref().unwrap()["steps"]
        .as_array()
        .unwrap();
    let status = |step: &Value| step["status"].as_str().unwrap().to_owned();
    steps.iter().map(status).collect()
}

fn step(outcome: &Outcome, index: usize) -> &Value {
    &outcome.details.as_ref().unwrap()["steps"][index]
}

fn run(agent: &mut Agent, command: &CommandFrame) -> Outcome {
    agent.command(command);
    let outcome = agent.finished(command);
    agent.ack(command);
    outcome
}

fn kill(agent: &Agent, command: &CommandFrame) {
    agent.send(ServerFrame::Cancel {
        command_id: command.command_id,
        kill: true,
    });
}

fn succeeded(outcome: &Outcome) -> bool {
    outcome.status == OutcomeStatus::Succeeded
}

/// Writes its process id, then waits to be let go.
fn patient(host: &Host) -> String {
    let folder = host.folder.path().display();
    format!(
        "echo run >> {folder}/runs; echo $$ > {folder}/pid; until [ -e {folder}/go ]; do sleep 0.02; done; echo done\n"
    )
}

/// A host that says what it was told instead of going.
fn restartable() -> Host {
    let host = Host::with_system("", |folder| {
        let tell = |kind: &str| json!([folder.join("tell"), kind]);
        vec![
            ("reboot_command", tell("reboot")),
            ("shutdown_command", tell("shutdown")),
        ]
    });
    let tell = "#!/bin/sh\necho \"$1\" >> \"$(dirname \"$0\")/told\"\n";
    write_program(&host.path("tell"), tell);
    host
}

fn told(host: &Host) -> Vec<String> {
    lines(&host.path("told"))
}

/// Until the machine has been told, and the runner has gone.
fn wait_until_told(host: &Host, run: &CommandFrame, times: usize) {
    let record = host.run_folder(run).join("exit");
    wait("the machine is told", || told(host).len() == times);
    wait("the runner has gone", || record.exists());
}

#[test]
fn steps_run_in_order_and_each_says_how_it_went() {
    let host = Host::new();
    let mut agent = host.start();
    let path = host.path("etc/web.conf");
    let steps = [
        file("config", &path, "a\n"),
        with(
            script("restart", "echo restarted; echo warm >&2; exit 0"),
            "when",
            json!({"changed": "config"}),
        ),
        with(
            script("reload", "echo never"),
            "when",
            json!({"changed": "nothing"}),
        ),
        json!({"name": "last", "operation_type": "run_script",
            "parameters": {"script": "cat; echo $MODE $1; pwd", "stdin": "in\n", "args": ["x y"], "env": {"MODE": "own"}}}),
    ];
    let mut steps = steps.to_vec();
    steps.insert(2, file("nothing", &path, "a\n"));
    let options =
        json!({"environment": {"MODE": "options", "OTHER": "o"}, "working_directory": "/usr"});
    let first = run(&mut agent, &plan_with(&steps, options.clone()));
    assert!(succeeded(&first) && first.changed, "{first:?}");
    assert_eq!(
        statuses(&first),
        [
            "succeeded",
            "succeeded",
            "succeeded",
            "skipped",
            "succeeded"
        ]
    );
    assert_eq!(step(&first, 1)["stdout_tail"], "restarted\n");
    assert_eq!(step(&first, 1)["stderr_tail"], "warm\n");
    assert_eq!(step(&first, 3)["message"], "nothing changed nothing");
    assert_eq!(stdout(&first), "restarted\nin\nown x y\n/usr\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\n");
    // Once more: the file is as wanted, so what follows from its change does not.
    let second = run(&mut agent, &plan_with(&steps[..2], options));
    assert!(succeeded(&second) && !second.changed, "{second:?}");
    assert_eq!(statuses(&second), ["succeeded", "skipped"]);
    assert_eq!(step(&second, 0)["changed"], false);
}

#[test]
fn a_failed_step_stops_the_plan_unless_it_may_fail() {
    let host = Host::new();
    let mut agent = host.start();
    let bad = || script("bad", "echo oops >&2; exit 7");
    let after = || script("after", "echo after");
    let stopped = run(&mut agent, &plan(&[bad(), after()]));
    assert_eq!(
        (stopped.reason, stopped.exit_code),
        (Some(FailureReason::ExitCode), Some(7))
    );
    assert_eq!(stopped.message, "step 1 (bad): exited with code 7");
    assert_eq!(statuses(&stopped), ["failed", "not_run"]);
    assert_eq!(step(&stopped, 0)["exit_code"], 7);
    let went_on = run(
        &mut agent,
        &plan(&[with(bad(), "on_failure", json!("continue")), after()]),
    );
    assert!(succeeded(&went_on), "{went_on:?}");
    assert_eq!(statuses(&went_on), ["failed", "succeeded"]);
    assert_eq!(step(&went_on, 0)["tolerated"], true);
    assert_eq!(went_on.message, "2 steps, 1 failed and may: bad");
}

#[test]
fn a_rollback_leaves_every_file_exactly_as_it_was() {
    let host = Host::new();
    let mut agent = host.start();
    let (old, new, same) = (
        host.path("old"),
        host.path("made/for/it/new"),
        host.path("same"),
    );
    std::fs::write(&old, [0, 159, 146, 150]).unwrap();
    std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o4640)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&old, Some(12), Some(34)).unwrap();
        std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o4640)).unwrap();
    }
    std::fs::write(&same, "same").unwrap();
    let facts = |path: &Path| {
        let found = std::fs::metadata(path).unwrap();
        (
            found.mode(),
            found.uid(),
            found.gid(),
            found.mtime(),
            found.mtime_nsec(),
        )
    };
    let (before, before_same) = (facts(&old), std::fs::metadata(&same).unwrap().ino());
    let mut first = file("first", &old, "new content");
    first["parameters"]["mode"] = json!("0600");
    let outcome = run(
        &mut agent,
        &plan(&[
            first,
            file("again", &old, "newer content"),
            file("new", &new, "x"),
            file("same", &same, "same"),
            with(
                script("check", &format!("test -e {} && exit 3", new.display())),
                "on_failure",
                json!("rollback"),
            ),
            script("after", "true"),
        ]),
    );
    assert_eq!(
        (outcome.reason, outcome.exit_code),
        (Some(FailureReason::ExitCode), Some(3)),
        "{outcome:?}"
    );
    assert_eq!(
        statuses(&outcome),
        [
            "rolled_back",
            "rolled_back",
            "rolled_back",
            "succeeded",
            "failed",
            "not_run"
        ]
    );
    assert!(!outcome.changed, "{outcome:?}");
    assert_eq!(std::fs::read(&old).unwrap(), [0, 159, 146, 150]);
    assert_eq!(facts(&old), before);
    assert!(!host.path("made").exists());
    assert_eq!(std::fs::metadata(&same).unwrap().ino(), before_same);
    let left: Vec<_> = std::fs::read_dir(host.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("fleetwright"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_file_that_cannot_be_put_back_is_said() {
    let host = Host::new();
    let mut agent = host.start();
    let path = host.path("file");
    std::fs::write(&path, "old").unwrap();
    let sabotage = format!("rm {0}; mkdir {0}; exit 1", path.display());
    let outcome = run(
        &mut agent,
        &plan(&[
            file("file", &path, "new"),
            with(
                script("sabotage", &sabotage),
                "on_failure",
                json!("rollback"),
            ),
        ]),
    );
    assert_eq!(statuses(&outcome), ["succeeded", "failed"]);
    assert!(
        outcome.changed && outcome.message.contains("1 NOT put back"),
        "{}",
        outcome.message
    );
    assert!(
        step(&outcome, 0)["rollback"]
            .as_str()
            .unwrap()
            .contains("folder")
    );
}

#[test]
fn the_time_limit_is_for_the_whole_plan_and_a_step_that_meets_it_fails() {
    let host = Host::new();
    let mut agent = host.start();
    let path = host.path("file");
    let endless = format!(
        "sleep 1000 & echo $! > {}; wait",
        host.path("pid").display()
    );
    let mut wanted = plan(&[
        file("file", &path, "x"),
        with(script("endless", &endless), "on_failure", json!("rollback")),
        script("after", "true"),
    ]);
    wanted.timeout_seconds = 6;
    let outcome = run(&mut agent, &wanted);
    assert_eq!(outcome.reason, Some(FailureReason::TimedOut), "{outcome:?}");
    assert_eq!(statuses(&outcome), ["rolled_back", "failed", "not_run"]);
    assert!(!lives(pid_in(&host.path("pid"))) && !path.exists());
    // Also a step that may fail does not let a plan go on that has no time left.
    let mut tolerant = plan(&[with(
        script("endless", "sleep 1000"),
        "on_failure",
        json!("continue"),
    )]);
    tolerant.timeout_seconds = 1;
    assert_eq!(
        run(&mut agent, &tolerant).reason,
        Some(FailureReason::TimedOut)
    );
}

#[test]
fn a_cancelled_plan_ends_at_once_and_says_how_far_it_came() {
    for on_failure in ["stop", "rollback"] {
        let host = Host::new();
        let mut agent = host.start();
        let path = host.path("file");
        let wanted = plan(&[
            file("file", &path, "x"),
            with(
                script("two", &patient(&host)),
                "on_failure",
                json!(on_failure),
            ),
            script("three", "true"),
        ]);
        agent.command(&wanted);
        let pid = pid_in(&host.path("pid"));
        kill(&agent, &wanted);
        let outcome = agent.finished(&wanted);
        assert_eq!(
            outcome.reason,
            Some(FailureReason::Cancelled),
            "{outcome:?}"
        );
        let put_back = on_failure == "rollback";
        let first = if put_back { "rolled_back" } else { "succeeded" };
        assert_eq!(statuses(&outcome), [first, "failed", "not_run"]);
        assert!(!lives(pid));
        assert_eq!((path.exists(), outcome.changed), (!put_back, !put_back));
    }
}

#[test]
fn a_policy_is_asked_about_every_step_before_the_first() {
    let path = tempfile::tempdir().unwrap();
    let denied = path.path().join("denied");
    let host = Host::with(&format!("[policy]\ndeny_paths = [{denied:?}]\n"));
    let mut agent = host.start();
    let marks = host.path("marks");
    let wanted = plan(&[
        script("one", &format!("echo x > {}", marks.display())),
        file("two", &denied.join("x"), "x"),
    ]);
    let outcome = run(&mut agent, &wanted);
    assert_eq!(
        outcome.reason,
        Some(FailureReason::RefusedByPolicy),
        "{outcome:?}"
    );
    assert_eq!(statuses(&outcome), ["not_run", "not_run"]);
    assert_eq!(step(&outcome, 1)["reason"], "refused_by_policy");
    assert!(
        outcome.message.starts_with("step 2 (two): "),
        "{}",
        outcome.message
    );
    assert!(!marks.exists());
    // A health check is a script.
    let host = Host::with("[policy]\nallow_operations = ['deploy_file']\n");
    let mut agent = host.start();
    let checked = command(
        json!({"operation_type": "deploy_file", "parameters": {"path": host.path("x"), "content": ""},
        "options": {"health_check": {"script": "true"}}}),
    );
    assert_eq!(
        run(&mut agent, &checked).reason,
        Some(FailureReason::RefusedByPolicy)
    );
}

#[test]
fn a_step_this_host_cannot_do_is_named_before_anything_runs() {
    let host = Host::new();
    let mut agent = host.start();
    let marks = host.path("marks");
    let wanted = plan(&[
        script("one", &format!("echo x > {}", marks.display())),
        json!({"name": "web", "operation_type": "service_control", "parameters": {"service": "web", "action": "restart"}}),
    ]);
    let outcome = run(&mut agent, &wanted);
    assert_eq!(outcome.reason, Some(FailureReason::AgentError));
    assert!(
        outcome
            .message
            .starts_with("step 2 (web): this host cannot do it"),
        "{}",
        outcome.message
    );
    assert_eq!(statuses(&outcome), ["not_run", "not_run"]);
    assert!(!marks.exists());
}

#[test]
fn a_dry_run_says_what_each_step_would_do_and_touches_nothing() {
    let host = restartable();
    let mut agent = host.start();
    let path = host.path("made/file");
    let wanted = plan_with(
        &[
            file("file", &path, "x"),
            with(
                script("restart", "touch /nowhere"),
                "when",
                json!({"changed": "file"}),
            ),
            json!({"name": "boot", "operation_type": "reboot"}),
        ],
        json!({"dry_run": true}),
    );
    let outcome = run(&mut agent, &wanted);
    assert!(succeeded(&outcome), "{outcome:?}");
    assert_eq!(statuses(&outcome), ["succeeded"; 3]);
    assert!(
        step(&outcome, 0)["message"]
            .as_str()
            .unwrap()
            .starts_with("would make")
    );
    assert_eq!(step(&outcome, 1)["changed"], true);
    assert_eq!(outcome.details.as_ref().unwrap()["dry_run"], true);
    assert!(!host.path("made").exists() && told(&host).is_empty());
}

#[test]
fn a_blob_that_cannot_be_had_leaves_the_host_as_it_was() {
    let host = Host::new();
    let mut agent = host.start();
    let marks = host.path("marks");
    let wanted = plan(&[
        script("one", &format!("echo x > {}", marks.display())),
        json!({"name": "two", "operation_type": "deploy_file",
            "parameters": {"path": host.path("x"), "blob_sha256": "0".repeat(64)}}),
    ]);
    let outcome = run(&mut agent, &wanted);
    assert_eq!(
        outcome.reason,
        Some(FailureReason::AgentError),
        "{outcome:?}"
    );
    assert!(
        outcome.message.contains("cannot fetch the blob"),
        "{}",
        outcome.message
    );
    assert_eq!(statuses(&outcome), ["not_run", "not_run"]);
    assert!(!marks.exists());
}
