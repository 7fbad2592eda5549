//! The agent's journal as found on a disk. Raw bytes hardly ever get past the checksums, so an input may also be a list of
//! payloads, each of which is given its length and checksum.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use fleetwright_agent::checked;
use fleetwright_agent::journal::recover::{Recovered, header, recover};
use fleetwright_agent::journal::store::Opened;
use fleetwright_agent::journal::{
    Disk, Durability, Entries, Execution, JournalStore, PowerKind, PowerRun, Record, State,
};
use fleetwright_protocol::{CommandId, JournalId, NotStartedReason, Outcome};
use uuid::Uuid;

use super::{Target, files};

pub const TARGET: Target = Target {
    name: "journal",
    check,
    corpus,
    words: &[
        &[0; 4],
        &[0xff; 4],
        &[0xff; 8],
        &[1],
        &[2],
        &[3],
        &[4],
        &[5],
        &[6],
        &[7],
        &[8],
        b"{\"status\":\"succeeded\"}",
        b"FWAGJ\x01\r\n",
    ],
};

/// The first byte of an input that is a list of payloads; a journal begins with another.
const PAYLOADS: u8 = 0;
/// No record of the corpus is about it.
const NEW: CommandId = CommandId(Uuid::from_u128(0xfeed));

fn check(input: &[u8]) {
    match input.split_first() {
        Some((&PAYLOADS, payloads)) => believe(&framed(payloads)),
        Some(_) | None => believe(input),
    }
}

/// Each payload has two bytes of length in front, least first.
fn framed(mut payloads: &[u8]) -> Vec<u8> {
    let mut bytes = header(JournalId(Uuid::from_u128(1)));
    while let Some((length, rest)) = payloads.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (payload, rest) = rest.split_at(length);
        checked::write_record(&mut bytes, payload);
        payloads = rest;
    }
    bytes
}

fn believe(bytes: &[u8]) {
    match recover(bytes) {
        Recovered::Intact {
            journal_id,
            entries,
            valid_bytes,
        } => {
            assert!(valid_bytes <= bytes.len());
            possible(&entries);
            let whole = bytes.get(..valid_bytes).expect("within the bytes");
            match recover(whole) {
                Recovered::Intact {
                    journal_id: again_id,
                    entries: again,
                    valid_bytes: again_bytes,
                } => {
                    let again = (again_id, again, again_bytes);
                    assert_eq!(again, (journal_id, entries, valid_bytes));
                }
                other => panic!("recovered once, but not twice: {other:?}"),
            }
        }
        Recovered::Fresh | Recovered::Corrupt(_) => {}
    }
    goes_on(bytes);
}

/// What records add up to can be written as records again, and no command of it can start twice.
fn possible(entries: &Entries) {
    let mut again = Entries::default();
    for record in entries.to_records() {
        let applied = again.apply(&record);
        applied.expect("compaction writes what can be read");
    }
    assert_eq!(*entries, again);
    for (command_id, entry) in entries.iter() {
        let received = Record::Received {
            command_id,
            attempt: entry.attempt,
            expires_unix_ms: 0,
        };
        let taken_again = entries.clone().apply(&received).is_ok();
        assert!(
            !taken_again || entry.state == State::CancelledUnseen,
            "the same attempt is taken twice: {entry:?}"
        );
    }
}

/// Whatever was there, the journal takes the next record and has it after a restart.
fn goes_on(bytes: &[u8]) {
    let disk = Memory(Arc::new(Mutex::new(Some(bytes.to_vec()))));
    let open = |id| JournalStore::open_on(Box::new(disk.clone()), Uuid::from_u128(id), 0);
    let (mut store, _) = open(2).expect("memory can be read");
    let known = store.entries().get(NEW).is_some();
    let received = Record::Received {
        command_id: NEW,
        attempt: u32::MAX,
        expires_unix_ms: u64::MAX,
    };
    let appended = store.append(&[received], Durability::Synced).is_ok();
    assert!(appended || known);
    let (entries, journal_id) = (store.entries().clone(), store.journal_id());
    drop(store);
    let (again, opened) = open(3).expect("memory can be read");
    assert!(
        matches!(opened, Opened::Continued { cut_bytes: 0 }),
        "{opened:?}"
    );
    assert_eq!(
        (again.entries(), again.journal_id()),
        (&entries, journal_id)
    );
}

#[derive(Clone)]
struct Memory(Arc<Mutex<Option<Vec<u8>>>>);

impl Memory {
    fn change<T>(&self, work: impl FnOnce(&mut Option<Vec<u8>>) -> T) -> io::Result<T> {
        Ok(work(
            &mut self.0.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

impl Disk for Memory {
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.change(|content| content.clone())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.change(|content| content.get_or_insert_default().extend_from_slice(bytes))
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.change(|content| content.get_or_insert_default().truncate(bytes as usize))
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.change(|content| *content = Some(bytes.to_vec()))
    }

    fn set_aside(&mut self) -> io::Result<()> {
        self.change(|content| *content = None)
    }
}

/// One journal with every kind of record, as bytes and as payloads, and the files.
fn corpus() -> Vec<Vec<u8>> {
    let mut bytes = header(JournalId(Uuid::from_u128(1)));
    let mut payloads = vec![PAYLOADS];
    for record in records() {
        let payload = record.encode();
        checked::write_record(&mut bytes, &payload);
        let length = u16::try_from(payload.len()).expect("a short record");
        payloads.extend(length.to_le_bytes());
        payloads.extend(payload);
    }
    let mut all = vec![bytes, payloads, Vec::new()];
    all.extend(files("journal"));
    all
}

fn records() -> Vec<Record> {
    let id = |number| CommandId(Uuid::from_u128(number));
    let received = |number, attempt| Record::Received {
        command_id: id(number),
        attempt,
        expires_unix_ms: u64::MAX / 2,
    };
    let starting = |number, execution| Record::Starting {
        command_id: id(number),
        attempt: 1,
        boot_id: "boot".to_owned(),
        execution,
    };
    let reboot = PowerRun {
        kind: PowerKind::Reboot,
        deadline_unix_ms: 1_700_000_000_000,
    };
    let not_started = |number, attempt| Record::NotStarted {
        command_id: id(number),
        attempt,
        expires_unix_ms: u64::MAX / 2,
        reason: NotStartedReason::LeaseExpired,
    };
    vec![
        received(1, 1),
        starting(1, Execution::Supervised),
        Record::Started {
            command_id: id(1),
            attempt: 1,
            pid: 4_711,
            start_ticks: 99,
        },
        Record::Exited {
            command_id: id(1),
            attempt: 1,
            outcome: Box::new(Outcome::succeeded(true)),
        },
        Record::Acked {
            command_id: id(1),
            attempt: 1,
        },
        not_started(2, 1),
        received(2, 2),
        not_started(2, 2),
        received(3, 1),
        starting(3, Execution::Power(reboot)),
        received(4, 1),
        starting(4, Execution::InProcess),
        Record::Cancelled {
            command_id: id(5),
            expires_unix_ms: u64::MAX / 2,
        },
        received(5, 1),
    ]
}
