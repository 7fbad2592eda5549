//! Deployment plans and health checks, with real processes, files and agents that die in the middle.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use fleetwright_protocol::frame::{CommandFrame, JournalState};
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
fn an_agent_that_dies_in_the_middle_of_a_step_takes_the_plan_back() {
    let host = Host::new();
    let mut agent = host.start();
    let wanted = plan(&[
        script("one", "echo one"),
        script("two", &patient(&host)),
        script("three", "echo three"),
    ]);
    agent.command(&wanted);
    let pid = pid_in(&host.path("pid"));
    agent.started(&wanted);
    agent.die();
    let mut agent = host.start();
    assert_eq!(agent.hello.journal[0].state, JournalState::Started);
    assert!(lives(pid));
    std::fs::write(host.path("go"), "").unwrap();
    let outcome = agent.finished(&wanted);
    assert!(succeeded(&outcome), "{outcome:?}");
    assert_eq!(stdout(&outcome), "one\ndone\nthree\n");
    assert_eq!(lines(&host.path("runs")), ["run"]);
}

#[test]
fn a_plan_goes_on_after_a_restart_with_the_next_step_and_repeats_none() {
    let host = restartable();
    let mut agent = host.start();
    let path = host.path("config");
    std::fs::write(&path, "old").unwrap();
    let mark = |word: &str| {
        script(
            word,
            &format!(
                "echo {word} >> {}; echo {word}",
                host.path("marks").display()
            ),
        )
    };
    let reboot = |name: &str| json!({"name": name, "operation_type": "reboot"});
    let wanted = plan(&[
        file("config", &path, "new"),
        mark("before"),
        reboot("restart"),
        mark("between"),
        reboot("again"),
        with(script("bad", "exit 1"), "on_failure", json!("rollback")),
    ]);
    agent.command(&wanted);
    agent.started(&wanted);
    wait_until_told(&host, &wanted, 1);
    agent.die();
    // Only the agent was restarted: the machine is still to go, and nothing is repeated.
    let agent = host.start();
    assert_eq!(agent.hello.journal[0].state, JournalState::Started);
    agent.die();
    host.reboot();
    let agent = host.start();
    wait_until_told(&host, &wanted, 2);
    agent.die();
    std::fs::write(host.path("boot_id"), "third-boot\n").unwrap();
    let mut agent = host.start();
    let outcome = agent.finished(&wanted);
    assert_eq!(
        statuses(&outcome),
        [
            "rolled_back",
            "succeeded",
            "succeeded",
            "succeeded",
            "succeeded",
            "failed"
        ],
        "{outcome:?}"
    );
    assert_eq!(lines(&host.path("marks")), ["before", "between"]);
    assert_eq!(stdout(&outcome), "before\nbetween\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(told(&host).len(), 2);
    // And a duplicate of the command is answered, not run.
    agent.command(&wanted);
    assert_eq!(agent.finished(&wanted), outcome);
}

#[test]
fn a_step_that_a_restart_interrupted_is_unknown_and_not_repeated() {
    let host = Host::new();
    let mut agent = host.start();
    let wanted = plan(&[
        script("one", "true"),
        script("two", &patient(&host)),
        script("three", "true"),
    ]);
    agent.command(&wanted);
    let pid = pid_in(&host.path("pid"));
    agent.started(&wanted);
    agent.die();
    // As when the power fails: all that ran is gone without a word.
    end_run(&wanted);
    assert!(!lives(pid));
    host.reboot();
    let mut agent = host.start();
    let outcome = agent.finished(&wanted);
    assert_eq!(outcome.reason, Some(FailureReason::OutcomeUnknown));
    assert_eq!(statuses(&outcome), ["succeeded", "failed", "not_run"]);
    assert_eq!(lines(&host.path("runs")), ["run"]);
}

#[test]
fn what_was_lost_between_two_steps_goes_on_with_the_next() {
    let host = restartable();
    let mut agent = host.start();
    let wanted = plan(&[
        json!({"name": "restart", "operation_type": "reboot"}),
        script("two", &patient(&host)),
    ]);
    agent.command(&wanted);
    agent.started(&wanted);
    wait_until_told(&host, &wanted, 1);
    agent.die();
    host.reboot();
    // The agent dies again and again before and after it lets the plan go on.
    for _ in 0..3 {
        host.start().die();
    }
    let mut agent = host.start();
    std::fs::write(host.path("go"), "").unwrap();
    let outcome = agent.finished(&wanted);
    assert!(succeeded(&outcome), "{outcome:?}");
    assert_eq!((lines(&host.path("runs")).len(), told(&host).len()), (1, 1));
}

#[test]
fn a_restart_that_never_comes_fails_in_time() {
    let host = restartable();
    let mut agent = host.start();
    let mut wanted = plan(&[
        json!({"name": "restart", "operation_type": "reboot"}),
        script("two", "true"),
    ]);
    wanted.timeout_seconds = 3;
    let outcome = run(&mut agent, &wanted);
    assert_eq!(outcome.reason, Some(FailureReason::TimedOut), "{outcome:?}");
    assert_eq!(statuses(&outcome), ["failed", "not_run"]);
    assert_eq!(told(&host).len(), 1);
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
    wanted.timeout_seconds = 2;
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
fn a_runner_that_is_killed_leaves_no_step_running() {
    let host = Host::new();
    let mut agent = host.start();
    let path = host.path("file");
    let wanted = plan(&[
        file("file", &path, "x"),
        with(
            script("two", &patient(&host)),
            "on_failure",
            json!("rollback"),
        ),
    ]);
    agent.command(&wanted);
    let pid = pid_in(&host.path("pid"));
    agent.started(&wanted);
    end_runner(&host, &wanted);
    let outcome = agent.finished(&wanted);
    assert_eq!(
        outcome.reason,
        Some(FailureReason::AgentError),
        "{outcome:?}"
    );
    assert_eq!(statuses(&outcome), ["rolled_back", "failed"]);
    assert!(!lives(pid) && !path.exists());
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

fn checked(text: &str, check: Value) -> CommandFrame {
    let mut wanted = command(
        json!({"operation_type": "run_script", "parameters": {"script": text},
        "options": {"health_check": check}}),
    );
    let options = serde_json::from_value(wanted.operation["options"].clone()).unwrap();
    wanted.timeout_seconds = fleetwright_protocol::health_check::run_seconds(300, &options);
    wanted
}

#[test]
fn a_host_succeeds_only_if_its_health_check_passes() {
    let host = Host::new();
    let mut agent = host.start();
    let tries = host.path("tries");
    let third = format!(
        "echo x >> {0}; echo try; test $(wc -l < {0}) -ge 3",
        tries.display()
    );
    let check = json!({"script": third, "retries": 3, "interval_seconds": 0});
    let good = run(&mut agent, &checked("echo out; exit 0", check.clone()));
    assert!(succeeded(&good) && good.changed, "{good:?}");
    assert_eq!((stdout(&good).as_str(), good.exit_code), ("out\n", Some(0)));
    let shown = &good.details.as_ref().unwrap()["health_check"];
    assert_eq!(
        (&shown["status"], &shown["tries"]),
        (&json!("succeeded"), &json!(3))
    );
    assert_eq!(shown["output_tail"], "try\n");
    // Not well.
    let bad = run(
        &mut agent,
        &checked(
            "true",
            json!({"script": "echo sick >&2; exit 4", "retries": 1, "interval_seconds": 0}),
        ),
    );
    assert_eq!(
        (bad.reason, bad.exit_code),
        (Some(FailureReason::ExitCode), Some(4))
    );
    assert_eq!(
        bad.message,
        "the health check failed (2 of 2 tries): exited with code 4"
    );
    assert!(bad.changed);
    // A try that hangs is ended; an operation that fails is not checked.
    let hangs = run(
        &mut agent,
        &checked(
            "true",
            json!({"script": "sleep 1000", "timeout_seconds": 1}),
        ),
    );
    assert_eq!(hangs.reason, Some(FailureReason::ExitCode), "{hangs:?}");
    std::fs::remove_file(&tries).unwrap();
    let failed = run(&mut agent, &checked("exit 9", check));
    assert_eq!((failed.exit_code, tries.exists()), (Some(9), false));
    assert!(failed.details.is_none());
}

#[test]
fn a_restarted_host_is_checked_when_it_is_back() {
    for (check, good) in [("true", true), ("exit 1", false)] {
        let host = restartable();
        let mut agent = host.start();
        let wanted = command(json!({"operation_type": "reboot", "parameters": {},
            "options": {"health_check": {"script": check, "soak_seconds": 1}}}));
        agent.command(&wanted);
        agent.started(&wanted);
        wait_until_told(&host, &wanted, 1);
        agent.die();
        host.reboot();
        let mut agent = host.start();
        let outcome = agent.finished(&wanted);
        assert_eq!(succeeded(&outcome), good, "{outcome:?}");
        assert!(outcome.changed);
        assert_eq!(
            outcome.details.as_ref().unwrap()["health_check"]["tries"],
            1
        );
        assert_eq!(told(&host).len(), 1);
    }
}

/// Kills every process of a run, its supervisors first, so that nobody notes anything.
fn end_run(command: &CommandFrame) {
    wait("the run is gone", || {
        let mut left = run_processes(command);
        left.sort_by_key(|pid| !words(*pid).contains("__supervise"));
        for pid in &left {
            send_kill(*pid);
        }
        left.is_empty()
    });
}

fn end_runner(host: &Host, command: &CommandFrame) {
    let folder = host.run_folder(command);
    let runner = format!("__plan {}", folder.display());
    let pids = run_processes(command);
    let pid = pids.into_iter().find(|pid| words(*pid).contains(&runner));
    send_kill(pid.expect("a runner"));
}

fn run_processes(command: &CommandFrame) -> Vec<u32> {
    let id = command.command_id.to_string();
    let found = fleetwright_agent::procfs::with_variable("FLEETWRIGHT_COMMAND_ID", &id);
    found.into_iter().map(|process| process.pid).collect()
}

fn words(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

fn send_kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // It may have gone by itself.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}
