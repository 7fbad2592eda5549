//! The journal as a whole: appends, syncs, compaction. One process writes it (the agent holds a lock on its folder).
//! Calls block on the disk.

use std::io;
use std::path::Path;

use fleetwright_protocol::{CommandId, JournalId};
use uuid::Uuid;

use super::disk::{Disk, FolderDisk};
use super::entries::{Entries, Entry, ImpossibleRecord};
use super::record::Record;
use super::recover::{self, Damage, Recovered};

/// A journal is not rewritten before it has this size: some ten thousand records.
const COMPACT_FROM_BYTES: u64 = 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On disk before the call returns.
    Synced,
    /// Survives the agent, not a power cut.
    Written,
}

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("the disk is full")]
    DiskFull,
    #[error("the journal cannot be written: {0}")]
    Io(io::Error),
    #[error(transparent)]
    Impossible(#[from] ImpossibleRecord),
    #[error("the journal is unusable since an earlier write failed")]
    Broken,
}

/// How a journal was found.
#[derive(Debug)]
pub enum Opened {
    Created,
    Continued {
        cut_bytes: u64,
    },
    /// The old file was put aside as `journal.damaged`; what it knew is lost.
    Replaced(Damage),
}

pub struct JournalStore {
    disk: Box<dyn Disk>,
    journal_id: JournalId,
    entries: Entries,
    bytes: u64,
    compact_at_bytes: u64,
    broken: bool,
}

impl JournalStore {
    /// Opens or makes `journal` in `directory`. `new_id` is used if a new one must begin.
    pub fn open(directory: &Path, new_id: Uuid, now_unix_ms: u64) -> io::Result<(Self, Opened)> {
        Self::open_on(Box::new(FolderDisk::new(directory)), new_id, now_unix_ms)
    }

    /// The same, wherever its bytes are kept.
    pub fn open_on(
        mut disk: Box<dyn Disk>,
        new_id: Uuid,
        now_unix_ms: u64,
    ) -> io::Result<(Self, Opened)> {
        let bytes = disk.read()?.unwrap_or_default();
        let (journal_id, mut entries, opened, valid_bytes) = match recover::recover(&bytes) {
            Recovered::Fresh => (JournalId(new_id), Entries::default(), Opened::Created, None),
            Recovered::Corrupt(damage) => {
                disk.set_aside()?;
                (
                    JournalId(new_id),
                    Entries::default(),
                    Opened::Replaced(damage),
                    None,
                )
            }
            Recovered::Intact {
                journal_id,
                entries,
                valid_bytes,
            } => {
                let cut_bytes = (bytes.len() - valid_bytes) as u64;
                let opened = Opened::Continued { cut_bytes };
                (journal_id, entries, opened, Some(valid_bytes as u64))
            }
        };
        entries.prune(now_unix_ms);
        let bytes = match valid_bytes {
            Some(valid_bytes) => {
                disk.cut(valid_bytes)?;
                // What an agent before this one wrote may not be on disk yet, and is acted on from now on.
                disk.sync()?;
                valid_bytes
            }
            None => rewrite(disk.as_mut(), journal_id, &entries)?,
        };
        let store = Self {
            disk,
            journal_id,
            entries,
            bytes,
            compact_at_bytes: COMPACT_FROM_BYTES,
            broken: false,
        };
        Ok((store, opened))
    }

    pub fn journal_id(&self) -> JournalId {
        self.journal_id
    }

    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// Whether it takes records. Once it does not, it never will again.
    pub fn is_usable(&self) -> bool {
        !self.broken
    }

    /// Appends the records together or not at all.
    pub fn append(
        &mut self,
        records: &[Record],
        durability: Durability,
    ) -> Result<(), JournalError> {
        if self.broken {
            return Err(JournalError::Broken);
        }
        let before = self.remember(records);
        let applied = records
            .iter()
            .try_for_each(|record| self.entries.apply(record));
        if let Err(impossible) = applied {
            self.entries.restore(before);
            return Err(impossible.into());
        }
        let mut bytes = Vec::new();
        for record in records {
            recover::encode(&mut bytes, record);
        }
        if let Err(error) = self.write(&bytes, durability) {
            self.entries.restore(before);
            return Err(error);
        }
        Ok(())
    }

    /// Rewrites the file with only what still matters, if it has grown enough to be worth it.
    pub fn compact_if_grown(&mut self, now_unix_ms: u64) -> io::Result<bool> {
        if self.broken || self.bytes < self.compact_at_bytes {
            return Ok(false);
        }
        // Tried again only after as much growth again, also if the rewrite fails.
        self.compact_at_bytes = self.bytes.saturating_mul(2);
        self.entries.prune(now_unix_ms);
        self.bytes = rewrite(self.disk.as_mut(), self.journal_id, &self.entries)?;
        self.compact_at_bytes = self.bytes.saturating_mul(2).max(COMPACT_FROM_BYTES);
        Ok(true)
    }

    fn remember(&self, records: &[Record]) -> Vec<(CommandId, Option<Entry>)> {
        records
            .iter()
            .map(|record| {
                (
                    record.command_id(),
                    self.entries.get(record.command_id()).cloned(),
                )
            })
            .collect()
    }

    fn write(&mut self, bytes: &[u8], durability: Durability) -> Result<(), JournalError> {
        if let Err(error) = self.disk.append(bytes) {
            // Half a record must not stay in front of later ones.
            self.broken = self.disk.cut(self.bytes).is_err();
            return Err(disk_error(error));
        }
        if durability == Durability::Synced
            && let Err(error) = self.disk.sync()
        {
            // After a failed sync nobody knows what is on disk; only a restart reads it anew. It should not find what is
            // refused now, but may.
            let _ = self.disk.cut(self.bytes);
            self.broken = true;
            return Err(disk_error(error));
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// Whether an I/O error says that no space (or quota) is left.
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn disk_error(error: io::Error) -> JournalError {
    if is_disk_full(&error) {
        JournalError::DiskFull
    } else {
        JournalError::Io(error)
    }
}

/// Returns how many bytes it takes now.
fn rewrite(disk: &mut dyn Disk, journal_id: JournalId, entries: &Entries) -> io::Result<u64> {
    let mut bytes = recover::header(journal_id);
    for record in entries.to_records() {
        recover::encode(&mut bytes, &record);
    }
    disk.replace(&bytes)?;
    Ok(bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::super::entries::State;
    use super::super::record::{ClosedAs, tests::id};
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write;

    fn received(number: u8) -> Record {
        Record::Received {
            command_id: id(number),
            attempt: 1,
            expires_unix_ms: u64::MAX / 2,
        }
    }

    fn open(directory: &Path) -> (JournalStore, Opened) {
        JournalStore::open(directory, Uuid::new_v4(), 0).unwrap()
    }

    #[test]
    fn what_was_appended_is_there_after_a_restart_under_the_same_journal_id() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, opened) = open(folder.path());
        assert!(matches!(opened, Opened::Created));
        store
            .append(&[received(1), received(2)], Durability::Synced)
            .unwrap();
        let (again, opened) = open(folder.path());
        assert!(matches!(opened, Opened::Continued { cut_bytes: 0 }));
        assert_eq!(again.entries(), store.entries());
        assert_eq!(again.journal_id(), store.journal_id());
    }

    #[test]
    fn a_torn_tail_is_cut_and_the_next_append_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = open(folder.path());
        store.append(&[received(1)], Durability::Synced).unwrap();
        let mut file = OpenOptions::new()
            .append(true)
            .open(folder.path().join("journal"))
            .unwrap();
        file.write_all(&[7, 0, 0, 0, 1, 2]).unwrap();
        let (mut store, opened) = open(folder.path());
        assert!(matches!(opened, Opened::Continued { cut_bytes: 6 }));
        store.append(&[received(2)], Durability::Synced).unwrap();
        let (again, _) = open(folder.path());
        assert_eq!(again.entries().iter().count(), 2);
    }

    #[test]
    fn damage_in_the_middle_begins_a_new_journal_under_another_id() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = open(folder.path());
        let first_record_at = store.bytes as usize;
        store
            .append(&[received(1), received(2)], Durability::Synced)
            .unwrap();
        let path = folder.path().join("journal");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[first_record_at + 20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (again, opened) = open(folder.path());
        assert!(matches!(opened, Opened::Replaced(Damage::Middle(_))));
        assert_ne!(again.journal_id(), store.journal_id());
        assert_eq!(again.entries().iter().count(), 0);
        assert!(folder.path().join("journal.damaged").exists());
    }

    #[test]
    fn an_impossible_record_is_refused_and_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = open(folder.path());
        let acked = Record::Acked {
            command_id: id(1),
            attempt: 1,
        };
        let refused = store.append(&[received(1), acked], Durability::Synced);
        assert!(matches!(refused, Err(JournalError::Impossible(_))));
        assert!(store.entries().get(id(1)).is_none());
        assert_eq!(open(folder.path()).0.entries().iter().count(), 0);
    }

    #[test]
    fn compaction_keeps_open_entries_and_forgets_old_tombstones() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = open(folder.path());
        store.compact_at_bytes = 1;
        let gone = Record::Tombstone {
            command_id: id(2),
            attempt: 1,
            expires_unix_ms: 1,
            closed: ClosedAs::Finished,
        };
        store
            .append(&[received(1), gone], Durability::Synced)
            .unwrap();
        assert!(store.compact_if_grown(3 * 24 * 3600 * 1_000).unwrap());
        store.append(&[received(3)], Durability::Synced).unwrap();
        let (again, _) = open(folder.path());
        assert_eq!(
            again.entries().iter().map(|(id, _)| id).collect::<Vec<_>>(),
            [id(1), id(3)]
        );
        assert_eq!(again.entries().get(id(1)).unwrap().state, State::Received);
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        assert!(is_disk_full(&io::Error::from_raw_os_error(libc::ENOSPC)));
        assert!(!is_disk_full(&io::Error::from_raw_os_error(libc::EACCES)));
    }
}
