//! `reboot` and `shutdown` with commands and a boot id of the test's own: the machine the tests run on is never told.

use std::path::Path;

use fleetwright_protocol::frame::{CommandFrame, JournalState};
use fleetwright_protocol::outcome::{FailureReason, OutcomeStatus};
use fleetwright_protocol::{AgentFrame, Outcome, ServerFrame};
use serde_json::json;

use crate::connection::{enroll, within};
use crate::fake_server::{FakeServer, Link, Running};
use crate::harness::{
    Agent, Host, command, lines, lives, pid_in, script_command, stdout, wait, write_program,
};

/// Says what it was told, and is sorry or not.
const TELL: &str = "#!/bin/sh\necho \"$@\" >> \"$(dirname \"$0\")/told\"\necho going\nexit $1\n";

/// A host whose commands end with this exit code.
fn host(settings: &str, exit_code: &str) -> Host {
    let told = |folder: &Path, kind: &str| json!([folder.join("tell"), exit_code, kind]);
    let host = Host::with_system(settings, |folder| {
        vec![
            ("reboot_command", told(folder, "reboot")),
            ("shutdown_command", told(folder, "shutdown")),
        ]
    });
    write_program(&host.path("tell"), TELL);
    host
}

fn power(kind: &str, delay_seconds: u64) -> CommandFrame {
    command(json!({"operation_type": kind, "parameters": {"delay_seconds": delay_seconds}}))
}

fn told(host: &Host) -> Vec<String> {
    lines(&host.path("told"))
}

/// Until the machine has been told, and the agent's side of it is over.
fn wait_until_told(host: &Host, run: &CommandFrame) {
    let record = host.run_folder(run).join("exit");
    wait("the machine is told", || !told(host).is_empty());
    wait("the run has ended", || record.exists());
}

fn succeeded(outcome: &Outcome) -> bool {
    outcome.status == OutcomeStatus::Succeeded
}

fn kill(agent: &Agent, run: &CommandFrame) {
    agent.send(ServerFrame::Cancel {
        command_id: run.command_id,
        kill: true,
    });
}

#[test]
fn a_restart_succeeds_when_the_host_is_back_with_another_boot_and_is_never_asked_twice() {
    for kind in ["reboot", "shutdown"] {
        let host = host("", "0");
        let mut agent = host.start();
        let run = power(kind, 0);
        agent.command(&run);
        agent.started(&run);
        wait_until_told(&host, &run);
        agent.die();
        // The agent alone was restarted: the machine is still to go.
        let mut agent = host.start();
        assert_eq!(agent.hello.journal[0].state, JournalState::Started);
        agent.command(&run);
        agent.started(&run);
        agent.die();
        host.reboot();
        let mut agent = host.start();
        let outcome = agent.finished(&run);
        assert!(succeeded(&outcome) && outcome.changed, "{outcome:?}");
        assert_eq!(stdout(&outcome), "going\n");
        agent.command(&run);
        assert_eq!(agent.finished(&run), outcome);
        assert_eq!(told(&host), [format!("0 {kind}")]);
    }
}

#[test]
fn a_machine_that_goes_while_it_is_told_has_restarted_too() {
    let host = host("", "0");
    // It never returns, as when the machine is gone first.
    write_program(
        &host.path("tell"),
        "#!/bin/sh\necho $$ > \"$(dirname \"$0\")/pid\"\nexec sleep 1000\n",
    );
    let agent = host.start();
    let run = power("reboot", 0);
    agent.command(&run);
    let pid = pid_in(&host.path("pid"));
    agent.die();
    // What the end of the machine does to the supervisor and all that is under it.
    let tool = fleetwright_agent::procfs::process(pid).unwrap();
    let operation = fleetwright_agent::procfs::process(tool.parent_pid).unwrap();
    for process in [operation.parent_pid, operation.pid, tool.pid] {
        let pid = rustix::process::Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    wait("all of it is gone", || {
        !lives(operation.parent_pid) && !lives(pid)
    });
    host.reboot();
    let outcome = host.start().finished(&run);
    assert!(succeeded(&outcome) && outcome.changed, "{outcome:?}");
}

#[test]
fn a_machine_that_does_not_go_has_timed_out_also_for_the_next_agent() {
    for restarted in [false, true] {
        let host = host("", "0");
        let mut agent = host.start();
        let mut run = power("reboot", 0);
        run.timeout_seconds = 8;
        agent.command(&run);
        wait_until_told(&host, &run);
        if restarted {
            agent.die();
            agent = host.start();
        }
        let outcome = agent.finished(&run);
        assert_eq!(
            (outcome.reason, outcome.changed),
            (Some(FailureReason::TimedOut), false)
        );
        assert_eq!(told(&host).len(), 1);
        // It is settled: others may start.
        agent.ack(&run);
        assert!(succeeded(&agent.run_script("true")));
    }
}

#[test]
fn a_command_that_fails_has_failed_at_once() {
    let host = host("", "7");
    let mut agent = host.start();
    for kind in ["reboot", "shutdown"] {
        let run = power(kind, 0);
        agent.command(&run);
        let outcome = agent.finished(&run);
        agent.ack(&run);
        assert_eq!(
            (outcome.reason, outcome.exit_code, outcome.changed),
            (Some(FailureReason::ExitCode), Some(7), false)
        );
    }
    assert!(succeeded(&agent.run_script("true")));
}

#[test]
fn nothing_runs_beside_a_restart_and_nothing_starts_until_it_is_settled() {
    let host = host("concurrency = 4", "0");
    let mut agent = host.start();
    let folder = host.folder.path().display().to_string();
    let before = script_command(&format!(
        "echo $$ > {folder}/pid; while [ ! -e {folder}/go ]; do sleep 0.05; done; echo before >> {folder}/told"
    ));
    let restart = power("reboot", 0);
    let after = script_command(&format!("echo after >> {folder}/told"));
    agent.command(&before);
    pid_in(&host.path("pid"));
    agent.command(&restart);
    agent.command(&after);
    agent.received(&after);
    assert_eq!(told(&host), [""; 0]);
    std::fs::write(host.path("go"), "").unwrap();
    agent.finished(&before);
    agent.started(&restart);
    wait_until_told(&host, &restart);
    let mut beside = script_command("true");
    beside.start_within_ms = 500;
    agent.command(&beside);
    assert_eq!(
        agent.not_started(&beside),
        fleetwright_protocol::NotStartedReason::LeaseExpired
    );
    assert_eq!(told(&host), ["before", "0 reboot"]);
    // An operator who does not want to wait any longer.
    kill(&agent, &restart);
    let outcome = agent.finished(&restart);
    assert_eq!(outcome.reason, Some(FailureReason::Cancelled));
    agent.finished(&after);
    assert_eq!(told(&host), ["before", "0 reboot", "after"]);
}

#[test]
fn a_restart_that_is_cancelled_in_its_delay_or_only_rehearsed_never_happens() {
    let host = host("", "0");
    let mut agent = host.start();
    let run = power("reboot", 3_600);
    agent.command(&run);
    agent.started(&run);
    kill(&agent, &run);
    let outcome = agent.finished(&run);
    agent.ack(&run);
    assert_eq!(outcome.reason, Some(FailureReason::Cancelled));
    let rehearsal = command(json!({
        "operation_type": "shutdown",
        "parameters": {"delay_seconds": 5},
        "options": {"dry_run": true},
    }));
    agent.command(&rehearsal);
    let outcome = agent.finished(&rehearsal);
    assert!(succeeded(&outcome) && outcome.changed);
    assert!(
        outcome.message.contains("tell 0 shutdown after 5 s"),
        "{outcome:?}"
    );
    assert_eq!(told(&host), [""; 0]);
}

#[test]
fn a_power_cut_before_the_word_to_go_proves_that_nothing_was_told() {
    let host = host("", "0");
    let mut agent = host.start();
    let blocker = script_command(&format!(
        "echo $$ > {0}/pid; while [ ! -e {0}/go ]; do sleep 0.05; done",
        host.folder.path().display()
    ));
    agent.command(&blocker);
    pid_in(&host.path("pid"));
    let run = power("reboot", 0);
    agent.command(&run);
    agent.received(&run);
    agent.die();
    std::fs::write(host.path("go"), "").unwrap();
    host.reboot();
    let mut agent = host.start();
    agent.not_started(&run);
    assert_eq!(told(&host), [""; 0]);
}

async fn next_hello(server: &FakeServer) -> (Link, String) {
    let mut link = server.link().await;
    let boot_id = link
        .expect("hello", |frame| match frame {
            AgentFrame::Hello(hello) => Some(hello.boot_id),
            _ => None,
        })
        .await;
    link.welcome().await;
    (link, boot_id)
}

#[test]
fn the_server_hears_of_the_start_before_the_host_goes_and_of_the_end_when_it_is_back() {
    within(async {
        let (server, host) = (FakeServer::start().await, host("", "0"));
        enroll(&server, &host, 86_400).await;
        let agent = Running::start(&host);
        let (mut link, boot_id) = next_hello(&server).await;
        assert_eq!(boot_id, "first-boot");
        let run = power("reboot", 4);
        link.send(&ServerFrame::Command(run.clone())).await;
        link.expect("the start", |frame| {
            matches!(frame, AgentFrame::CommandStarted { .. }).then_some(())
        })
        .await;
        assert_eq!(
            told(&host),
            [""; 0],
            "the word is out before the machine is told"
        );
        wait_until_told(&host, &run);
        drop(agent); // as by `kill -9`
        drop(link);
        host.reboot();
        let agent = Running::start(&host);
        let (mut link, boot_id) = next_hello(&server).await;
        assert_eq!(boot_id, "another-boot");
        let outcome = link
            .expect("the end", |frame| match frame {
                AgentFrame::CommandFinished { outcome, .. } => Some(outcome),
                _ => None,
            })
            .await;
        assert!(succeeded(&outcome), "{outcome:?}");
        assert_eq!(told(&host), ["0 reboot"]);
        drop(link);
        assert!(agent.stop());
    });
}
