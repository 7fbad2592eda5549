//! The exit record: how a run ended, written by its supervisor into the folder of the run before it goes. It is what
//! a restarted agent learns the outcome from.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use fleetwright_protocol::OutputSummary;
use serde::{Deserialize, Serialize};

use crate::checked::{self, Next};
use crate::operations::result::OwnResult;

const FILE_NAME: &str = "exit";
/// Of the part of a run before this one.
const ASIDE: &str = "exit.before";

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The agent went away before it gave the word to go: nothing was run.
    NeverStarted,
    /// The program could not be run at all.
    CannotRun {
        why: String,
    },
    Exited {
        code: i32,
    },
    Signalled {
        signal: i32,
    },
    /// Past its time; the whole tree is gone.
    TimedOut,
    /// Killed at the agent's request; the whole tree is gone.
    Cancelled,
    /// Something else than the agent told the supervisor to stop (a machine going down); the whole tree is gone.
    StoppedFromOutside,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    pub ending: Ending,
    pub duration_ms: u64,
    pub stdout: OutputSummary,
    pub stderr: OutputSummary,
    /// Why less output was kept than there is room for; empty if all is well.
    #[serde(default)]
    pub output_trouble: String,
    #[serde(default)]
    pub result: OwnResult,
}

impl ExitRecord {
    pub fn without_output(ending: Ending, duration_ms: u64) -> Self {
        Self {
            ending,
            duration_ms,
            stdout: OutputSummary::default(),
            stderr: OutputSummary::default(),
            output_trouble: String::new(),
            result: OwnResult::NotExpected,
        }
    }

    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        checked::write_record(&mut bytes, &serde_json::to_vec(self)?);
        Ok(bytes)
    }

    /// `None` if the bytes are torn or not a record.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match checked::read_record(bytes) {
            Next::Record { payload, .. } => serde_json::from_slice(payload).ok(),
            Next::End | Next::Damaged => None,
        }
    }

    /// The record in the folder of a run, if a whole one is there.
    pub fn read(folder: &Path) -> Option<Self> {
        Self::decode(&std::fs::read(folder.join(FILE_NAME)).ok()?)
    }

    /// Puts the record there out of the way: the run goes on, and is to leave another.
    pub fn put_aside(folder: &Path) -> io::Result<()> {
        match std::fs::rename(folder.join(FILE_NAME), folder.join(ASIDE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => std::fs::File::open(folder)?.sync_all(),
        }
    }

    /// The record that was put aside, if there is one.
    pub fn read_aside(folder: &Path) -> Option<Self> {
        Self::decode(&std::fs::read(folder.join(ASIDE)).ok()?)
    }
}

/// Writes an encoded record, on disk before it returns. Not atomic: a torn one reads as none.
pub fn write(folder: &Path, encoded: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(folder.join(FILE_NAME))?;
    file.write_all(encoded)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_exit_record_reads_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let record = ExitRecord::without_output(Ending::Exited { code: 3 }, 12);
        let bytes = record.encode().unwrap();
        for cut in 0..bytes.len() {
            write(folder.path(), &bytes[..cut]).unwrap();
            assert_eq!(ExitRecord::read(folder.path()), None, "cut at {cut}");
        }
        write(folder.path(), &bytes).unwrap();
        assert_eq!(ExitRecord::read(folder.path()), Some(record));
    }
}
