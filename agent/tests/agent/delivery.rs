//! At most one start per command and attempt, whatever comes in whatever order.

use fleetwright_protocol::frame::JournalState;
use fleetwright_protocol::outcome::{FailureReason, OutcomeStatus};
use fleetwright_protocol::{AgentFrame, NotStartedReason, ServerFrame};
use serde_json::json;

use crate::harness::{Host, command, script_command, wait};

fn count_script(host: &Host) -> String {
    format!("echo run >> {}", host.path("runs").display())
}

fn runs(host: &Host) -> usize {
    std::fs::read_to_string(host.path("runs"))
        .unwrap_or_default()
        .lines()
        .count()
}

#[test]
fn a_duplicate_is_answered_from_the_journal_and_never_run_again() {
    let host = Host::new();
    let mut agent = host.start();
    let run = script_command(&count_script(&host));
    agent.command(&run);
    agent.command(&run);
    let first = agent.finished(&run);
    agent.command(&run);
    assert_eq!(agent.finished(&run), first);
    agent.reconnect();
    assert_eq!(agent.hello.journal.len(), 1);
    assert_eq!(agent.hello.journal[0].state, JournalState::Exited);
    assert_eq!(
        agent.finished(&run),
        first,
        "said again after a reconnect, unasked"
    );
    agent.ack(&run);
    agent.command(&run);
    let after = agent.finished(&run);
    assert_eq!(
        after.reason,
        Some(FailureReason::OutcomeUnknown),
        "the result is gone, the memory is not"
    );
    let mut later = run.clone();
    later.attempt = 2;
    agent.command(&later);
    agent.finished(&run);
    assert_eq!(runs(&host), 1);
    agent.reconnect();
    assert!(agent.hello.journal.is_empty(), "nothing is open any more");
}

#[test]
fn commands_run_one_at_a_time_in_order() {
    let host = Host::new();
    let mut agent = host.start();
    let log = host.path("log");
    let commands: Vec<_> = (0..4)
        .map(|number| {
            let log = log.display();
            script_command(&format!(
                "echo begin {number} >> {log}; sleep 0.05; echo end {number} >> {log}"
            ))
        })
        .collect();
    for command in &commands {
        agent.command(command);
    }
    for command in &commands {
        assert_eq!(agent.finished(command).status, OutcomeStatus::Succeeded);
    }
    let expected: String = (0..4)
        .map(|number| format!("begin {number}\nend {number}\n"))
        .collect();
    assert_eq!(std::fs::read_to_string(log).unwrap(), expected);
}

#[test]
fn as_many_run_side_by_side_as_the_settings_say() {
    let host = Host::with("concurrency = 2");
    let mut agent = host.start();
    let meet = |mine: &str, other: &str| {
        let folder = host.folder.path().display();
        script_command(&format!(
            "touch {folder}/{mine}; while [ ! -e {folder}/{other} ]; do sleep 0.02; done"
        ))
    };
    let (left, right) = (meet("left", "right"), meet("right", "left"));
    agent.command(&left);
    agent.command(&right);
    assert_eq!(agent.finished(&right).status, OutcomeStatus::Succeeded);
}

#[test]
fn a_command_that_cannot_start_in_time_is_said_not_to_start_and_may_come_again() {
    let host = Host::new();
    let mut agent = host.start();
    let go = host.path("go");
    let blocker = script_command(&format!(
        "while [ ! -e {} ]; do sleep 0.05; done",
        go.display()
    ));
    agent.command(&blocker);
    agent.started(&blocker);
    let mut late = script_command(&count_script(&host));
    late.start_within_ms = 50;
    let mut short = script_command(&count_script(&host));
    short.ttl_ms = 50;
    agent.command(&late);
    agent.command(&short);
    agent.received(&late);
    assert_eq!(agent.not_started(&late), NotStartedReason::LeaseExpired);
    assert_eq!(agent.not_started(&short), NotStartedReason::TtlExpired);
    std::fs::write(go, "").unwrap();
    agent.finished(&blocker);
    agent.command(&late);
    assert_eq!(
        agent.not_started(&late),
        NotStartedReason::LeaseExpired,
        "the same attempt never starts"
    );
    agent.ack(&late);
    late.attempt = 2;
    late.start_within_ms = 60_000;
    agent.command(&late);
    assert_eq!(agent.finished(&late).status, OutcomeStatus::Succeeded);
    assert_eq!(runs(&host), 1);
}

#[test]
fn a_cancel_stops_a_waiting_command_and_one_that_has_not_come_yet() {
    let host = Host::new();
    let mut agent = host.start();
    let go = host.path("go");
    let blocker = script_command(&format!(
        "while [ ! -e {} ]; do sleep 0.05; done",
        go.display()
    ));
    let waiting = script_command(&count_script(&host));
    let overtaken = script_command(&count_script(&host));
    agent.command(&blocker);
    agent.command(&waiting);
    agent.received(&waiting);
    agent.send(ServerFrame::Cancel {
        command_id: waiting.command_id,
        kill: false,
    });
    assert_eq!(agent.not_started(&waiting), NotStartedReason::Cancelled);
    agent.send(ServerFrame::Cancel {
        command_id: overtaken.command_id,
        kill: true,
    });
    agent.command(&overtaken);
    assert_eq!(agent.not_started(&overtaken), NotStartedReason::Cancelled);
    std::fs::write(go, "").unwrap();
    agent.finished(&blocker);
    agent.ack(&overtaken);
    let mut again = overtaken.clone();
    again.attempt = 2;
    agent.command(&again);
    assert_eq!(
        agent.not_started(&again),
        NotStartedReason::Cancelled,
        "nor under a later attempt"
    );
    assert_eq!(runs(&host), 0);
}

#[test]
fn what_this_agent_cannot_do_does_not_start() {
    let host = Host::new();
    let mut agent = host.start();
    for kind in ["service_control", "make_coffee"] {
        let run = command(
            json!({"operation_type": kind, "parameters": {"service": "web", "action": "stop"}}),
        );
        agent.command(&run);
        assert_eq!(
            agent.not_started(&run),
            NotStartedReason::Unsupported,
            "{kind}"
        );
    }
    let offered = serde_json::to_value(&agent.hello.capabilities.operations).unwrap();
    assert_eq!(
        offered,
        json!([
            "run_script",
            "deploy_file",
            "reboot",
            "shutdown",
            "apply_deployment_plan"
        ])
    );
}

#[test]
fn a_burst_of_commands_is_all_done_and_each_once() {
    let host = Host::with("concurrency = 4");
    let mut agent = host.start();
    let commands: Vec<_> = (0..40)
        .map(|_| script_command(&count_script(&host)))
        .collect();
    for command in &commands {
        agent.command(command);
        agent.command(command);
    }
    for command in &commands {
        let ended = agent.said.iter().any(|frame| {
            matches!(frame, AgentFrame::CommandFinished { command_id, .. } if *command_id == command.command_id)
        });
        if !ended {
            agent.finished(command);
        }
        agent.ack(command);
    }
    assert_eq!(runs(&host), 40);
    wait("all folders are gone", || {
        std::fs::read_dir(host.config.data_dir.join("run"))
            .unwrap()
            .count()
            == 0
    });
}
