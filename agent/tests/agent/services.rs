//! `service_control` through the agent's program, with a `systemctl` of the test's own: it keeps a file per state and
//! writes down what it is asked.

use std::path::Path;

use fleetwright_protocol::frame::CommandFrame;
use fleetwright_protocol::outcome::{FailureReason, OutcomeStatus};
use fleetwright_protocol::{NotStartedReason, Open, OperationType, Outcome, ServerFrame};
use serde_json::{Value, json};

use crate::harness::{Host, command, lines, lives, pid_in, stdout, wait, write_program};

/// `web` is there, `broken` cannot be started, `slow` takes until `go` is there; nothing else is known.
const SYSTEMCTL: &str = r#"#!/bin/sh
state=$(dirname "$0")
echo "$*" >> "$state/calls"
verb=$1
for name; do :; done
case "$verb" in
show)
    case "$name" in web|broken|slow) echo LoadState=loaded ;; *) echo LoadState=not-found ;; esac
    if [ -e "$state/$name.running" ]; then echo ActiveState=active; else echo ActiveState=inactive; fi ;;
is-enabled)
    if [ -e "$state/$name.enabled" ]; then echo enabled; else echo disabled; exit 1; fi ;;
start|restart)
    if [ "$name" = broken ]; then echo "Job for broken.service failed." >&2; exit 3; fi
    if [ "$name" = slow ]; then
        echo waiting
        echo $$ > "$state/pid"
        while [ ! -e "$state/go" ]; do sleep 0.05; done
    fi
    : > "$state/$name.running" ;;
stop) rm -f "$state/$name.running" ;;
reload) ;;
enable) : > "$state/$name.enabled" ;;
disable) rm -f "$state/$name.enabled" ;;
*) exit 99 ;;
esac
"#;

fn host() -> Host {
    let manager = |folder: &Path| json!([folder.join("systemctl")]);
    let host = Host::with_system("", |folder| vec![("service_manager", manager(folder))]);
    write_program(&host.path("systemctl"), SYSTEMCTL);
    host
}

fn control(parameters: Value, dry_run: bool) -> CommandFrame {
    command(json!({
        "operation_type": "service_control",
        "parameters": parameters,
        "options": {"dry_run": dry_run},
    }))
}

/// What the tool was asked beside questions.
fn changes(host: &Host) -> Vec<String> {
    let mut calls = lines(&host.path("calls"));
    calls.retain(|call| !call.starts_with("show") && !call.starts_with("is-enabled"));
    calls
}

fn success(outcome: &Outcome) -> Option<bool> {
    (outcome.status == OutcomeStatus::Succeeded).then_some(outcome.changed)
}

#[test]
fn a_service_is_brought_to_the_state_asked_for_and_left_there() {
    let host = host();
    let mut agent = host.start();
    let mut told = 0;
    for (parameters, dry_run, changed, call) in [
        (
            json!({"service": "web", "ensure": "running"}),
            true,
            true,
            None,
        ),
        (
            json!({"service": "web", "ensure": "running"}),
            false,
            true,
            Some("start -- web"),
        ),
        (
            json!({"service": "web", "ensure": "running"}),
            false,
            false,
            None,
        ),
        (
            json!({"service": "web", "action": "start"}),
            false,
            false,
            None,
        ),
        (
            json!({"service": "web", "action": "enable"}),
            true,
            true,
            None,
        ),
        (
            json!({"service": "web", "action": "enable"}),
            false,
            true,
            Some("enable -- web"),
        ),
        (
            json!({"service": "web", "action": "enable"}),
            false,
            false,
            None,
        ),
        (
            json!({"service": "web", "action": "restart"}),
            false,
            true,
            Some("restart -- web"),
        ),
        (
            json!({"service": "web", "action": "reload"}),
            false,
            true,
            Some("reload -- web"),
        ),
        (
            json!({"service": "web", "ensure": "stopped"}),
            false,
            true,
            Some("stop -- web"),
        ),
        (
            json!({"service": "web", "action": "disable"}),
            false,
            true,
            Some("disable -- web"),
        ),
        (
            json!({"service": "web", "action": "disable"}),
            false,
            false,
            None,
        ),
    ] {
        let run = control(parameters, dry_run);
        agent.command(&run);
        let outcome = agent.finished(&run);
        agent.ack(&run);
        assert_eq!(success(&outcome), Some(changed), "{run:?} {outcome:?}");
        let calls = changes(&host);
        assert_eq!(calls.get(told).map(String::as_str), call, "{run:?}");
        told = calls.len();
        if dry_run {
            assert!(outcome.message.starts_with("would "), "{}", outcome.message);
        }
        if let Some(call) = call {
            let verb = call.split(' ').next().unwrap();
            assert_eq!(outcome.details.unwrap()["done"], json!([verb]));
        }
    }
}

#[test]
fn a_service_that_is_unknown_or_will_not_start_fails_with_the_reason() {
    let host = host();
    let mut agent = host.start();
    let unknown = control(json!({"service": "gopher", "action": "start"}), false);
    agent.command(&unknown);
    let outcome = agent.finished(&unknown);
    assert_eq!(outcome.reason, Some(FailureReason::AgentError));
    assert_eq!(outcome.message, "there is no service gopher on this host");
    assert!(!outcome.changed && changes(&host).is_empty());
    let broken = control(json!({"service": "broken", "action": "start"}), false);
    agent.command(&broken);
    let outcome = agent.finished(&broken);
    assert_eq!(
        (outcome.reason, outcome.exit_code, outcome.changed),
        (Some(FailureReason::ExitCode), Some(3), false)
    );
    assert!(outcome.message.contains("Job for broken.service failed."));
    assert_eq!(outcome.stderr.head, b"Job for broken.service failed.\n");
}

#[test]
fn a_host_says_which_operations_it_can_carry_out_and_refuses_the_others() {
    let agent = host().start();
    let can = |operations: &[Open<OperationType>]| {
        operations.contains(&OperationType::ServiceControl.into())
    };
    assert!(can(&agent.hello.capabilities.operations));
    let without = Host::new();
    let mut agent = without.start();
    assert!(!can(&agent.hello.capabilities.operations));
    let run = control(json!({"service": "web", "action": "start"}), false);
    agent.command(&run);
    assert_eq!(agent.not_started(&run), NotStartedReason::Unsupported);
}

#[test]
fn an_operation_outlives_the_agent_and_its_own_word_is_its_outcome() {
    // Still running when the next agent comes, or already over.
    for adopted in [true, false] {
        let host = host();
        let mut agent = host.start();
        let run = control(json!({"service": "slow", "ensure": "running"}), false);
        agent.command(&run);
        let pid = pid_in(&host.path("pid"));
        agent.started(&run);
        agent.die();
        let go = || std::fs::write(host.path("go"), "").unwrap();
        let record = host.run_folder(&run).join("exit");
        if !adopted {
            go();
            wait("an exit record", || record.exists() && !lives(pid));
        }
        let mut agent = host.start();
        if adopted {
            assert!(lives(pid));
            go();
        }
        let outcome = agent.finished(&run);
        assert_eq!(success(&outcome), Some(true), "{outcome:?}");
        assert_eq!(outcome.details.as_ref().unwrap()["done"], json!(["start"]));
        assert!(stdout(&outcome).contains("waiting\n"));
        assert_eq!(changes(&host), ["start -- slow"]);
    }
}

#[test]
fn an_operation_that_is_cut_off_is_no_success_and_nothing_of_it_is_left() {
    let host = host();
    let mut agent = host.start();
    for timeout in [false, true] {
        let mut run = control(json!({"service": "slow", "ensure": "running"}), false);
        if timeout {
            run.timeout_seconds = 6;
        }
        let _ = std::fs::remove_file(host.path("pid"));
        agent.command(&run);
        let pid = pid_in(&host.path("pid"));
        agent.started(&run);
        let kill = true;
        if !timeout {
            agent.send(ServerFrame::Cancel {
                command_id: run.command_id,
                kill,
            });
        }
        let expected = if timeout {
            FailureReason::TimedOut
        } else {
            FailureReason::Cancelled
        };
        let outcome = agent.finished(&run);
        assert_eq!((outcome.reason, outcome.changed), (Some(expected), false));
        assert!(!lives(pid));
    }
}

#[test]
fn an_operation_whose_process_is_killed_is_no_success() {
    let host = host();
    let mut agent = host.start();
    let run = control(json!({"service": "slow", "ensure": "running"}), false);
    agent.command(&run);
    let tool = pid_in(&host.path("pid"));
    let process = fleetwright_agent::procfs::process(tool).unwrap();
    let operation = rustix::process::Pid::from_raw(process.parent_pid as i32).unwrap();
    rustix::process::kill_process(operation, rustix::process::Signal::KILL).unwrap();
    let outcome = agent.finished(&run);
    assert_eq!(
        (outcome.status, outcome.signal),
        (OutcomeStatus::Failed, Some(9))
    );
    // As with a script, what it had started goes on.
    std::fs::write(host.path("go"), "").unwrap();
    wait("the tool has ended", || !lives(tool));
}
