//! Runs one program of a plan under a supervisor of its own, as if it were a run of its own: its whole tree ends with its
//! time, and what it leaves behind on purpose lives on. What it prints is passed on to the run's own output.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use fleetwright_protocol::OutputSummary;
use fleetwright_protocol::frame::{Section, Stream};

use super::report::TAIL_BYTES_MAX;
use crate::operate::PROGRAM;
use crate::supervisor;
use crate::supervisor::exit_record::ExitRecord;
use crate::supervisor::spec::{COMMAND_VARIABLE, RunSpec, SupervisorMessage};
use crate::supervisor::spool;

/// Runs it in its folder and waits for its end. `None` if the supervisor was lost, and the outcome with it.
pub fn supervise(spec: &RunSpec, folder: &Path) -> io::Result<Option<ExitRecord>> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut supervisor = Command::new(PROGRAM)
        .arg0("fleetwright-agent")
        .arg(supervisor::ARGUMENT)
        .arg(folder)
        .env_clear()
        .env(COMMAND_VARIABLE, spec.command_id.to_string())
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()?;
    let record = converse(spec, &mut ours);
    supervisor.wait()?;
    Ok(record.or_else(|| ExitRecord::read(folder)))
}

/// The last bytes of a stream, as text.
pub fn tail(summary: &OutputSummary, folder: &Path, stream: Stream) -> String {
    let kept = if summary.in_parts {
        std::fs::read(spool::section_path(folder, stream, Section::Tail)).unwrap_or_default()
    } else {
        summary.head.clone()
    };
    let from = kept.len().saturating_sub(TAIL_BYTES_MAX);
    String::from_utf8_lossy(kept.get(from..).unwrap_or_default()).into_owned()
}

/// Gives the word to go and listens to the end. A supervisor that breaks off leaves its record on disk.
fn converse(spec: &RunSpec, channel: &mut UnixStream) -> Option<ExitRecord> {
    loop {
        let mut head = [0; 5];
        channel.read_exact(&mut head).ok()?;
        let mut content = vec![0; SupervisorMessage::content_bytes(&head)?];
        channel.read_exact(&mut content).ok()?;
        let [kind, ..] = head;
        match SupervisorMessage::decode(kind, content)? {
            SupervisorMessage::Ready { .. } => spec.send(channel).ok()?,
            SupervisorMessage::Output { .. } => {}
            SupervisorMessage::Ended(record) => return ExitRecord::decode(&record),
        }
    }
}
