//! A realistic journal, cut at every byte and damaged at every byte: what is whole is recovered, what is damaged is
//! never believed, and the next append is read back.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use fleetwright_protocol::outcome::FailureReason;
use fleetwright_protocol::{NotStartedReason, Outcome};
use uuid::Uuid;

use super::disk::Disk;
use super::entries::Entries;
use super::record::tests::id;
use super::record::{ClosedAs, Execution, PowerKind, PowerRun, Record};
use super::recover::{self, Recovered};
use super::store::{Durability, JournalStore, Opened};

/// Far from any pruning.
const EXPIRES_UNIX_MS: u64 = u64::MAX / 2;

/// A journal in memory, shared with the test.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Option<Vec<u8>>>>, Arc<AtomicBool>);

impl Memory {
    fn of(bytes: &[u8]) -> Self {
        Self(Arc::new(Mutex::new(Some(bytes.to_vec()))), Arc::default())
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone().unwrap_or_default()
    }

    fn open(&self) -> (JournalStore, Opened) {
        JournalStore::open_on(Box::new(self.clone()), Uuid::from_u128(77), 0).unwrap()
    }
}

impl Disk for Memory {
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut content = self.0.lock().unwrap();
        content.get_or_insert_default().extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.1.load(Ordering::SeqCst) {
            return Err(io::Error::other("it does not answer"));
        }
        Ok(())
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        let mut content = self.0.lock().unwrap();
        content.get_or_insert_default().truncate(bytes as usize);
        Ok(())
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        *self.0.lock().unwrap() = Some(bytes.to_vec());
        Ok(())
    }

    fn set_aside(&mut self) -> io::Result<()> {
        *self.0.lock().unwrap() = None;
        Ok(())
    }
}

fn received(number: u8, attempt: u32) -> Record {
    Record::Received {
        command_id: id(number),
        attempt,
        expires_unix_ms: EXPIRES_UNIX_MS,
    }
}

fn starting(number: u8, attempt: u32, execution: Execution) -> Record {
    Record::Starting {
        command_id: id(number),
        attempt,
        boot_id: "6a0b3c1e-9f7f-4c7e-9a55-0d9b5b1d8a11".to_owned(),
        execution,
    }
}

/// What an agent writes in a busy hour: every kind of record, in the order and the groups it writes them.
fn a_busy_hour() -> Vec<Vec<Record>> {
    let exited = |number, outcome: Outcome| Record::Exited {
        command_id: id(number),
        attempt: 1,
        outcome: Box::new(outcome),
    };
    let acked = |number, attempt| Record::Acked {
        command_id: id(number),
        attempt,
    };
    let started = |number| Record::Started {
        command_id: id(number),
        attempt: 1,
        pid: 4_711,
        start_ticks: 123_456,
    };
    let mut printed = Outcome::succeeded(true);
    printed.stdout.head = b"hello\n".repeat(20);
    printed.stdout.total_bytes = 120;
    let reboot = Execution::Power(PowerRun {
        kind: PowerKind::Reboot,
        deadline_unix_ms: EXPIRES_UNIX_MS,
    });
    vec![
        // One that runs, and one that waits behind it.
        vec![
            received(1, 1),
            starting(1, 1, Execution::Supervised),
            received(2, 1),
        ],
        vec![started(1)],
        vec![exited(1, printed)],
        vec![starting(2, 1, Execution::InProcess)],
        vec![acked(1, 1)],
        vec![exited(
            2,
            Outcome::failed(FailureReason::AgentError, "no such folder"),
        )],
        // One that came too late, and again.
        vec![Record::NotStarted {
            command_id: id(3),
            attempt: 1,
            expires_unix_ms: EXPIRES_UNIX_MS,
            reason: NotStartedReason::LeaseExpired,
        }],
        vec![acked(3, 1)],
        vec![received(3, 2), starting(3, 2, Execution::Supervised)],
        // One that is cancelled before it comes, and one of which only a tombstone is left.
        vec![Record::Cancelled {
            command_id: id(4),
            expires_unix_ms: EXPIRES_UNIX_MS,
        }],
        vec![Record::Tombstone {
            command_id: id(5),
            attempt: 3,
            expires_unix_ms: EXPIRES_UNIX_MS,
            closed: ClosedAs::Finished,
        }],
        vec![received(6, 1), starting(6, 1, reboot)],
        vec![started(6)],
    ]
}

/// The bytes as the store writes them, and the entries after each whole record, by where it ends.
fn recorded() -> (Vec<u8>, Vec<(usize, Entries)>) {
    let memory = Memory::default();
    let (mut store, opened) = memory.open();
    assert!(matches!(opened, Opened::Created));
    let mut expected = Entries::default();
    let mut ends = vec![(memory.bytes().len(), expected.clone())];
    for group in a_busy_hour() {
        store.append(&group, Durability::Synced).unwrap();
        for record in &group {
            expected.apply(record).unwrap();
            let (end, _) = ends.last().unwrap();
            let mut bytes = Vec::new();
            recover::encode(&mut bytes, record);
            ends.push((end + bytes.len(), expected.clone()));
        }
    }
    assert_eq!(ends.last().unwrap().0, memory.bytes().len());
    (memory.bytes(), ends)
}

#[test]
fn every_prefix_of_a_journal_recovers_what_is_whole_and_takes_the_next_record() {
    let (bytes, ends) = recorded();
    let next = received(9, 1);
    for cut in 0..=bytes.len() {
        let memory = Memory::of(&bytes[..cut]);
        let whole = ends.iter().rev().find(|(end, _)| *end <= cut);
        let (mut store, opened) = memory.open();
        match whole {
            None => assert!(
                matches!(opened, Opened::Created),
                "cut at {cut}: {opened:?}"
            ),
            Some((end, expected)) => {
                let Opened::Continued { cut_bytes } = opened else {
                    panic!("cut at {cut}: {opened:?}");
                };
                assert_eq!(cut_bytes as usize, cut - end);
                assert_eq!(store.entries(), expected, "cut at {cut}");
            }
        }
        let journal_id = store.journal_id();
        store
            .append(std::slice::from_ref(&next), Durability::Synced)
            .unwrap();
        let written = store.entries().clone();
        drop(store);
        let (again, opened) = memory.open();
        assert!(
            matches!(opened, Opened::Continued { cut_bytes: 0 }),
            "cut at {cut}: {opened:?}"
        );
        assert_eq!(again.entries(), &written, "cut at {cut}");
        assert_eq!(again.journal_id(), journal_id);
        assert!(again.entries().get(id(9)).is_some());
    }
}

#[test]
fn what_could_not_be_synced_is_refused_and_not_found_after_a_restart() {
    let memory = Memory::default();
    let (mut store, _) = memory.open();
    store.append(&[received(1, 1)], Durability::Synced).unwrap();
    memory.1.store(true, Ordering::SeqCst);
    assert!(store.append(&[received(2, 1)], Durability::Synced).is_err());
    memory.1.store(false, Ordering::SeqCst);
    assert!(
        store.append(&[received(3, 1)], Durability::Synced).is_err(),
        "it is unusable"
    );
    let (again, _) = memory.open();
    assert_eq!(again.entries(), store.entries());
    assert!(again.entries().get(id(1)).is_some() && again.entries().get(id(2)).is_none());
}

#[test]
fn a_changed_byte_is_never_believed_wherever_it_is() {
    let (bytes, ends) = recorded();
    let (last_start, before_last) = ends[ends.len() - 2].clone();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            match recover::recover(&damaged) {
                // Nothing intact follows the last record, so it counts as torn.
                Recovered::Intact {
                    entries,
                    valid_bytes,
                    ..
                } => {
                    assert!(at >= last_start, "byte {at} was believed");
                    assert_eq!((valid_bytes, &entries), (last_start, &before_last));
                }
                Recovered::Corrupt(_) => {
                    assert!(at < last_start, "byte {at} is in the last record")
                }
                Recovered::Fresh => {
                    panic!("byte {at}: a journal that held something is called new")
                }
            }
        }
    }
}
