//! What a plan printed before the machine was restarted: printed once more by the runner that goes on, so that the run
//! has one output.

use std::io::{self, Write};
use std::path::Path;

use fleetwright_protocol::OutputSummary;
use fleetwright_protocol::frame::{Section, Stream};

use crate::supervisor::exit_record::ExitRecord;
use crate::supervisor::spool;

/// Puts the record of the part that has ended out of the way of the next one's.
pub fn put_aside(folder: &Path) -> io::Result<()> {
    ExitRecord::put_aside(folder)
}

/// Prints what was kept of it. All of it is read first: the files are those the next output is kept in.
pub fn print(folder: &Path) {
    let Some(record) = ExitRecord::read_aside(folder) else {
        return;
    };
    let stdout = kept(&record.stdout, folder, Stream::Stdout);
    let stderr = kept(&record.stderr, folder, Stream::Stderr);
    // Nobody may be listening any more; the plan goes on all the same.
    let _ = io::stdout()
        .write_all(&stdout)
        .and_then(|()| io::stdout().flush());
    let _ = io::stderr().write_all(&stderr);
}

fn kept(summary: &OutputSummary, folder: &Path, stream: Stream) -> Vec<u8> {
    if !summary.in_parts {
        return summary.head.clone();
    }
    let read =
        |section| std::fs::read(spool::section_path(folder, stream, section)).unwrap_or_default();
    let mut bytes = read(Section::Head);
    bytes.extend(read(Section::Tail));
    bytes
}
