//! The log of a plan in the folder of its run: checked records, each on disk before the next thing is done. One process
//! writes it at a time.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::progress::LogEntry;
use crate::checked::{self, Next};

const FILE_NAME: &str = "plan.log";
/// Half a second in all; a process is made in a few milliseconds, also on a busy machine.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

pub struct Log {
    file: File,
}

impl Log {
    /// Opens or makes it for writing, and reads what stands in it. Another writer is an error: it may be at work on a
    /// step.
    pub fn open(folder: &Path) -> io::Result<(Self, Vec<LogEntry>)> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join(FILE_NAME))?;
        lock(&file)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (entries, whole_bytes) = parse(&bytes);
        // Half an entry must not stay in front of later ones.
        file.set_len(whole_bytes)?;
        file.seek(io::SeekFrom::End(0))?;
        if entries.is_empty() {
            // Its name is to survive as well.
            File::open(folder)?.sync_all()?;
        }
        Ok((Self { file }, entries))
    }

    /// Notes it, on disk before this returns.
    pub fn append(&mut self, entry: &LogEntry) -> io::Result<()> {
        let mut bytes = Vec::new();
        checked::write_record(&mut bytes, &serde_json::to_vec(entry)?);
        self.file.write_all(&bytes)?;
        self.file.sync_data()
    }
}

/// A process that is being made holds what its maker has open until it becomes another program: that is waited for.
#[expect(
    clippy::disallowed_methods,
    reason = "a blocking call, by processes and threads that have nothing else to do"
)]
fn lock(file: &File) -> io::Result<()> {
    for _ in 0..LOCK_TRIES {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            other => return Ok(other?),
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// What stands in the log now; nothing if there is none.
pub fn read(folder: &Path) -> io::Result<Vec<LogEntry>> {
    match std::fs::read(folder.join(FILE_NAME)) {
        Ok(bytes) => Ok(parse(&bytes).0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The whole entries at the beginning, and how many bytes they take. What follows was being written when the machine
/// or the process ended, and was not acted upon.
fn parse(bytes: &[u8]) -> (Vec<LogEntry>, u64) {
    let mut entries = Vec::new();
    let mut at = 0;
    while let Next::Record { payload, size } =
        checked::read_record(bytes.get(at..).unwrap_or_default())
    {
        let Ok(entry) = serde_json::from_slice(payload) else {
            break;
        };
        entries.push(entry);
        at += size;
    }
    (entries, at as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(step: usize) -> LogEntry {
        LogEntry::Begun {
            step,
            boot_id: "b".to_owned(),
        }
    }

    #[test]
    fn any_prefix_of_a_log_reads_as_its_whole_entries_and_takes_more() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::open(folder.path()).unwrap();
        let mut ends = vec![0];
        for step in 0..3 {
            log.append(&begun(step)).unwrap();
            ends.push(log.file.metadata().unwrap().len());
        }
        drop(log);
        let path = folder.path().join(FILE_NAME);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let count = ends.iter().filter(|end| **end <= cut as u64).count() - 1;
            assert_eq!(read(folder.path()).unwrap().len(), count, "cut at {cut}");
            let (mut log, _) = Log::open(folder.path()).unwrap();
            log.append(&begun(9)).unwrap();
            drop(log);
            let entries = read(folder.path()).unwrap();
            assert_eq!(
                (entries.len(), entries.last()),
                (count + 1, Some(&begun(9)))
            );
        }
    }

    #[test]
    fn two_never_write_one_log() {
        let folder = tempfile::tempdir().unwrap();
        let first = Log::open(folder.path()).unwrap();
        assert!(Log::open(folder.path()).is_err());
        drop(first);
        assert!(Log::open(folder.path()).is_ok());
    }
}
