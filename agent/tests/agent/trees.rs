//! Time-outs and cancels: everything a script has started is gone before its end is told.

use std::time::Instant;

use fleetwright_protocol::ServerFrame;
use fleetwright_protocol::outcome::{FailureReason, OutcomeStatus};

use crate::harness::{Host, PATIENCE, lives, pid_in, script_command, stdout};

/// A child, one that left the session, and one whose parents are gone: a daemon as daemons are made.
const FAMILY: &str = "
    sleep 1000 & echo $! > DIR/child
    setsid sh -c 'echo $$ > DIR/leaver; exec sleep 1000' &
    (setsid sh -c '(echo $$ > /dev/null; exec setsid sh -c \"echo \\$\\$ > DIR/daemon; exec sleep 1000\") & exit 0' > /dev/null 2>&1 &)
    wait
";

fn family(host: &Host) -> String {
    FAMILY.replace("DIR", host.folder.path().to_str().unwrap())
}

fn members(host: &Host) -> Vec<u32> {
    ["child", "leaver", "daemon"]
        .map(|name| pid_in(&host.path(name)))
        .to_vec()
}

#[test]
fn a_timeout_is_told_only_when_the_whole_tree_is_gone() {
    let host = Host::new();
    let mut agent = host.start();
    let mut run = script_command(&family(&host));
    run.timeout_seconds = 8;
    agent.command(&run);
    let members = members(&host);
    assert!(members.iter().all(|pid| lives(*pid)));
    let outcome = agent.finished(&run);
    assert_eq!(
        (outcome.status, outcome.reason),
        (OutcomeStatus::Failed, Some(FailureReason::TimedOut))
    );
    for pid in members {
        assert!(!lives(pid), "{pid} lives on");
    }
    assert!(outcome.duration_ms >= 8_000);
}

#[test]
fn cancel_with_kill_ends_the_whole_tree() {
    let host = Host::new();
    let mut agent = host.start();
    let run = script_command(&family(&host));
    agent.command(&run);
    let members = members(&host);
    agent.send(ServerFrame::Cancel {
        command_id: run.command_id,
        kill: true,
    });
    let outcome = agent.finished(&run);
    assert_eq!(outcome.reason, Some(FailureReason::Cancelled));
    for pid in members {
        assert!(!lives(pid), "{pid} lives on");
    }
}

#[test]
fn cancel_without_kill_lets_a_running_script_finish() {
    let host = Host::new();
    let mut agent = host.start();
    let go = host.path("go");
    let run = script_command(&format!(
        "while [ ! -e {} ]; do sleep 0.05; done; echo done",
        go.display()
    ));
    agent.command(&run);
    agent.started(&run);
    agent.send(ServerFrame::Cancel {
        command_id: run.command_id,
        kill: false,
    });
    std::fs::write(go, "").unwrap();
    assert_eq!(stdout(&agent.finished(&run)), "done\n");
}

/// It ignores what can be ignored and forks as fast as it can, up to a bound that protects the machine.
#[test]
fn a_fork_bomb_is_ended() {
    let host = Host::new();
    let mut agent = host.start();
    let mut run = script_command(
        "trap '' TERM INT HUP
         bomb() { if [ $1 -gt 0 ]; then bomb $(($1 - 1)) & bomb $(($1 - 1)) & fi; sleep 1000; }
         bomb 7",
    );
    run.timeout_seconds = 1;
    agent.command(&run);
    assert_eq!(agent.finished(&run).reason, Some(FailureReason::TimedOut));
    let marker = format!("{}", run.command_id);
    let left = fleetwright_agent::procfs::with_variable("FLEETWRIGHT_COMMAND_ID", &marker);
    assert!(
        // Only the supervisor leads a session of its own, and it is about to end.
        left.iter().all(|process| process.pid == process.session_id),
        "{left:?}"
    );
}

/// A service started by a script stays, and the result does not wait for the output it keeps open.
#[test]
fn a_daemon_left_behind_by_a_script_that_succeeded_stays() {
    let host = Host::new();
    let mut agent = host.start();
    let pid_file = host.path("daemon");
    let begun = Instant::now();
    let outcome = agent.run_script(&format!(
        "setsid sleep 1000 & echo $! > {}; echo started",
        pid_file.display()
    ));
    assert!(begun.elapsed() < PATIENCE / 2, "it waited for the daemon");
    assert_eq!(
        (outcome.status, stdout(&outcome).as_str()),
        (OutcomeStatus::Succeeded, "started\n")
    );
    let pid = pid_in(&pid_file);
    assert!(lives(pid));
    end(pid);
}

/// The supervisor itself may be the victim of the out-of-memory killer.
#[test]
fn a_lost_supervisor_means_an_unknown_outcome_and_no_leftovers() {
    let host = Host::new();
    let mut agent = host.start();
    let run = script_command(&family(&host));
    agent.command(&run);
    let members = members(&host);
    let marker = format!("{}", run.command_id);
    let supervisor = fleetwright_agent::procfs::with_variable("FLEETWRIGHT_COMMAND_ID", &marker)
        .into_iter()
        .find(|process| is_supervisor(process.pid))
        .unwrap();
    end(supervisor.pid);
    let outcome = agent.finished(&run);
    assert_eq!(outcome.reason, Some(FailureReason::OutcomeUnknown));
    for pid in members {
        assert!(!lives(pid), "{pid} lives on");
    }
}

fn is_supervisor(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
        line.split(|byte| *byte == 0)
            .any(|word| word == b"__supervise")
    })
}

/// Kills exactly this process of ours.
fn end(pid: u32) {
    if let Some(process) = fleetwright_agent::procfs::process(pid) {
        fleetwright_agent::supervisor::tree::signal(&process, rustix::process::Signal::KILL);
    }
    crate::harness::wait("it ends", || !lives(pid));
}
