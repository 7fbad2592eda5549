//! The agent dies; what it started does not, and nothing is started twice.

use std::io::Write;
use std::process::{Command, Stdio};

use fleetwright_agent::supervisor::exit_record::{Ending, ExitRecord};
use fleetwright_protocol::frame::JournalState;
use fleetwright_protocol::outcome::{FailureReason, OutcomeStatus};
use fleetwright_protocol::{NotStartedReason, ServerFrame};
use serde_json::json;

use crate::harness::{Host, PROGRAM, lives, pid_in, script_command, stdout, wait};

/// Says that it runs, waits for `go`, and says that it ran.
fn patient(host: &Host) -> String {
    let folder = host.folder.path().display();
    format!(
        "echo $$ > {folder}/pid; while [ ! -e {folder}/go ]; do sleep 0.05; done; echo run >> {folder}/runs; echo done"
    )
}

fn runs(host: &Host) -> usize {
    std::fs::read_to_string(host.path("runs"))
        .unwrap_or_default()
        .lines()
        .count()
}

#[test]
fn a_script_that_still_runs_is_adopted_and_its_outcome_told() {
    let host = Host::new();
    let mut agent = host.start();
    let run = script_command(&patient(&host));
    agent.command(&run);
    let pid = pid_in(&host.path("pid"));
    agent.started(&run);
    agent.die();
    let mut agent = host.start();
    assert_eq!(agent.hello.journal[0].state, JournalState::Started);
    agent.command(&run);
    assert!(lives(pid));
    std::fs::write(host.path("go"), "").unwrap();
    let outcome = agent.finished(&run);
    assert_eq!(
        (outcome.status, stdout(&outcome).as_str()),
        (OutcomeStatus::Succeeded, "done\n")
    );
    assert_eq!(runs(&host), 1);
}

#[test]
fn a_script_that_ended_unseen_has_its_outcome_in_its_record() {
    let host = Host::new();
    let mut agent = host.start();
    let run = script_command(&(patient(&host) + "; exit 5"));
    agent.command(&run);
    agent.started(&run);
    agent.die();
    std::fs::write(host.path("go"), "").unwrap();
    wait("an exit record", || {
        ExitRecord::read(&host.run_folder(&run)).is_some()
    });
    for _ in 0..2 {
        // Also after a second restart, since nobody has acknowledged it.
        let mut agent = host.start();
        let outcome = agent.finished(&run);
        assert_eq!(
            (outcome.exit_code, stdout(&outcome).as_str()),
            (Some(5), "done\n")
        );
        agent.die();
    }
    assert_eq!(runs(&host), 1);
}

#[test]
fn an_adopted_script_can_be_cancelled() {
    let host = Host::new();
    let mut agent = host.start();
    let run = script_command(&patient(&host));
    agent.command(&run);
    let pid = pid_in(&host.path("pid"));
    agent.started(&run);
    agent.die();
    let mut agent = host.start();
    agent.send(ServerFrame::Cancel {
        command_id: run.command_id,
        kill: true,
    });
    assert_eq!(agent.finished(&run).reason, Some(FailureReason::Cancelled));
    assert!(!lives(pid));
}

#[test]
fn a_waiting_command_is_given_up_and_its_next_attempt_runs() {
    let host = Host::new();
    let mut agent = host.start();
    let first = script_command(&patient(&host));
    let mut waiting = script_command(&format!("echo run >> {}", host.path("runs").display()));
    agent.command(&first);
    agent.command(&waiting);
    agent.received(&waiting);
    agent.started(&first);
    agent.die();
    // As of a plan whose process was not begun yet.
    let folder = host.run_folder(&waiting);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("secrets.json"), "{}").unwrap();
    let mut agent = host.start();
    assert_eq!(
        agent.not_started(&waiting),
        NotStartedReason::AgentRestarted
    );
    wait("its secrets to be gone", || !folder.exists());
    agent.command(&waiting);
    assert_eq!(
        agent.not_started(&waiting),
        NotStartedReason::AgentRestarted,
        "the same attempt never starts"
    );
    agent.ack(&waiting);
    waiting.attempt = 2;
    agent.command(&waiting);
    agent.received(&waiting);
    std::fs::write(host.path("go"), "").unwrap();
    agent.finished(&first);
    assert_eq!(agent.finished(&waiting).status, OutcomeStatus::Succeeded);
    assert_eq!(runs(&host), 2);
}

#[test]
fn after_a_restart_of_the_machine_an_unfinished_run_is_unknown() {
    let host = Host::new();
    let mut agent = host.start();
    let run = script_command(&patient(&host));
    agent.command(&run);
    let pid = pid_in(&host.path("pid"));
    agent.started(&run);
    agent.die();
    host.reboot();
    let mut agent = host.start();
    assert_eq!(
        agent.finished(&run).reason,
        Some(FailureReason::OutcomeUnknown)
    );
    // A real restart would have ended it; here it is ended as a leftover.
    assert!(!lives(pid));
    assert_eq!(runs(&host), 0);
}

#[test]
fn a_damaged_journal_begins_anew_and_what_it_had_started_is_ended() {
    let host = Host::new();
    let mut agent = host.start();
    let before = agent.hello.journal_id;
    let run = script_command(&patient(&host));
    agent.command(&run);
    let pid = pid_in(&host.path("pid"));
    agent.started(&run);
    agent.die();
    let path = host.config.data_dir.join("journal");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[50] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let agent = host.start();
    assert_ne!(agent.hello.journal_id, before);
    assert!(agent.hello.journal.is_empty());
    wait("the lost run is ended", || !lives(pid));
    wait("its folder is removed", || !host.run_folder(&run).exists());
}

/// A real agent process and a real `kill -9`.
#[test]
fn a_supervisor_survives_the_death_of_its_agent_and_records_the_outcome() {
    let host = Host::new();
    let mut agent = Command::new(PROGRAM)
        .arg("--config")
        .arg(host.path("agent.toml"))
        .args(["exec", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let plan = json!({"operation_type": "run_script", "parameters": {"script": patient(&host)}});
    agent
        .stdin
        .take()
        .unwrap()
        .write_all(plan.to_string().as_bytes())
        .unwrap();
    let pid = pid_in(&host.path("pid"));
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(lives(pid));
    std::fs::write(host.path("go"), "").unwrap();
    let folder = std::fs::read_dir(host.config.data_dir.join("run"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    wait("an exit record", || ExitRecord::read(&folder).is_some());
    let record = ExitRecord::read(&folder).unwrap();
    assert_eq!(
        (record.ending, record.stdout.head.as_slice()),
        (Ending::Exited { code: 0 }, b"done\n".as_slice())
    );
}

/// The word to go never came: the supervisor ends by itself and says that nothing was run.
#[test]
fn a_supervisor_without_its_agent_starts_nothing() {
    let host = Host::new();
    let folder = host.path("folder");
    std::fs::create_dir(&folder).unwrap();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut supervisor = Command::new(PROGRAM)
        .arg("__supervise")
        .arg(&folder)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .spawn()
        .unwrap();
    drop(ours);
    assert!(supervisor.wait().unwrap().success());
    assert_eq!(
        ExitRecord::read(&folder).unwrap().ending,
        Ending::NeverStarted
    );
}
