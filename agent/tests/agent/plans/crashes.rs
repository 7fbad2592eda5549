//! Agents, supervisors, runners and machines that go in the middle of a plan.

use fleetwright_protocol::frame::{CommandFrame, JournalState};
use fleetwright_protocol::outcome::FailureReason;
use serde_json::json;

use super::{
    file, patient, plan, restartable, run, script, statuses, succeeded, told, wait_until_told, with,
};
use crate::harness::{Host, lines, lives, pid_in, stdout, wait};

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
    // It is out of sight of the search while it dies.
    wait("the script is gone", || !lives(pid));
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
    wanted.timeout_seconds = 8;
    let outcome = run(&mut agent, &wanted);
    assert_eq!(outcome.reason, Some(FailureReason::TimedOut), "{outcome:?}");
    assert_eq!(statuses(&outcome), ["failed", "not_run"]);
    assert_eq!(told(&host).len(), 1);
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
