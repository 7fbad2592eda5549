//! The supervisor: a small process of its own around each run, which outlives the agent. It starts the program,
//! keeps both ends of its output, ends the whole tree on time-out or cancel, and leaves an exit record. It starts
//! nothing before the agent has said so. No runtime, no logging: its start is on the path of every command.

pub mod exit_record;
pub mod spec;
pub mod spool;
pub mod tree;

mod child;
mod live;
pub mod signals;
pub mod spawner;
mod watch;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use exit_record::{Ending, ExitRecord};
use fleetwright_protocol::Outcome;
use fleetwright_protocol::outcome::FailureReason;
use live::Live;
use rustix::process::{getpid, set_child_subreaper, setsid, umask};
use signals::Signals;
use spec::RunSpec;

use crate::operations::result::{OperationResult, OwnResult};
use crate::plan::cut_off;

/// The hidden first argument that makes the agent's program a supervisor; the folder of the run follows.
pub const ARGUMENT: &str = "__supervise";

/// Runs as a supervisor over the channel on standard input.
pub fn main(folder: &Path) -> ExitCode {
    // Standard input becomes /dev/null by this, so the script cannot get at the channel.
    let channel = rustix::io::dup(rustix::stdio::stdin()).and_then(|channel| {
        rustix::io::fcntl_setfd(&channel, rustix::io::FdFlags::CLOEXEC)?;
        let null = rustix::fs::open(
            "/dev/null",
            rustix::fs::OFlags::RDWR,
            rustix::fs::Mode::empty(),
        )?;
        rustix::stdio::dup2_stdin(&null)?;
        Ok(channel)
    });
    match channel {
        Ok(channel) => supervise(channel, folder),
        Err(_) => ExitCode::FAILURE,
    }
}

/// The whole life of a supervisor. An exit code other than 0 means that nothing could be recorded.
pub fn supervise(channel: OwnedFd, folder: &Path) -> ExitCode {
    let mut channel = UnixStream::from(channel);
    // Away from the agent's session and its signals; the folder of the agent is not pinned either.
    let apart = setsid().and_then(|_| set_child_subreaper(Some(getpid())));
    let signals = Signals::listen();
    umask(rustix::fs::Mode::from_raw_mode(0o022));
    let go = live::announce(&mut channel).and_then(|()| RunSpec::receive(&mut channel));
    let (live, record) = match (go, apart, signals) {
        (Err(_), _, _) => (
            Live::new(channel),
            ExitRecord::without_output(Ending::NeverStarted, 0),
        ),
        (Ok(spec), Ok(()), Ok(signals)) => {
            let live = Live::new(channel).passing_on(spec.passes_on);
            let (live, mut record) = watch::run(&spec, folder, &signals, live);
            if spec.is_plan && record.ending != (Ending::Exited { code: 0 }) {
                // A runner that was not ended by us may have left a step behind.
                watch::kill_all(&spec, &signals);
                if let Err(error) = cut_off::after(folder, &record.ending) {
                    // The log still tells how far it came.
                    record.result = not_cut_off(&error);
                }
            }
            (live, record)
        }
        (Ok(_), _, _) => {
            let why = "the supervisor could not set itself up".to_owned();
            (
                Live::new(channel),
                ExitRecord::without_output(Ending::CannotRun { why }, 0),
            )
        }
    };
    leave_record(folder, &record, live)
}

/// Shown by the agent in place of what could not be done.
fn not_cut_off(error: &std::io::Error) -> OwnResult {
    let message = format!("the plan was cut off, and what follows from that was not done: {error}");
    let outcome = Outcome::failed(FailureReason::AgentError, message);
    OwnResult::Left(Box::new(OperationResult::of(outcome)))
}

fn leave_record(folder: &Path, record: &ExitRecord, live: Live) -> ExitCode {
    let Ok(encoded) = record.encode() else {
        return ExitCode::FAILURE;
    };
    let kept = exit_record::write(folder, &encoded).or_else(|_| {
        // On a full disk the outcome matters more than the output.
        spool::Spool::discard_files(folder);
        let mut bare = record.clone();
        for summary in [&mut bare.stdout, &mut bare.stderr] {
            summary.head.clear();
            (summary.head_bytes, summary.tail_bytes) = (0, 0);
        }
        "the disk is full: output was dropped".clone_into(&mut bare.output_trouble);
        exit_record::write(folder, &bare.encode()?)
    });
    live.end(encoded);
    if kept.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
