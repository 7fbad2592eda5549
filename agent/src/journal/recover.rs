//! Reads a journal back from its bytes. Pure. A torn tail is cut; damage before intact records means that what the
//! journal says cannot be trusted, and the caller must begin a new one.

use fleetwright_protocol::JournalId;

use super::entries::Entries;
use super::record::Record;
use crate::checked::{self, Next};

/// Names the format and its version; a later format gets another one.
const MAGIC: &[u8; 8] = b"FWAGJ\x01\r\n";

#[derive(Debug, PartialEq)]
pub enum Recovered {
    /// No whole header: this journal never held anything.
    Fresh,
    /// Good up to `valid_bytes`; whatever follows is the torn end of a write.
    Intact {
        journal_id: JournalId,
        entries: Entries,
        valid_bytes: usize,
    },
    Corrupt(Damage),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("the file does not begin as a journal does")]
    Header,
    #[error("the record at byte {0} is damaged, though intact ones follow")]
    Middle(usize),
    #[error("the record at byte {0} cannot follow the ones before it")]
    Impossible(usize),
}

/// The first bytes of a journal.
pub fn header(journal_id: JournalId) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    checked::write_record(&mut bytes, journal_id.as_bytes());
    bytes
}

/// The bytes that one record takes in the file.
pub fn encode(into: &mut Vec<u8>, record: &Record) {
    checked::write_record(into, &record.encode());
}

/// Reads a whole journal.
pub fn recover(bytes: &[u8]) -> Recovered {
    let header_bytes = MAGIC.len() + checked::PREFIX_BYTES + 16;
    if bytes.len() < header_bytes {
        let prefix = bytes.len().min(MAGIC.len());
        return if bytes[..prefix] == MAGIC[..prefix] {
            // `prefix` is at most both lengths
            Recovered::Fresh
        } else {
            Recovered::Corrupt(Damage::Header)
        };
    }
    let (start, rest) = bytes.split_at(header_bytes);
    let Some(journal_id) = read_header(start) else {
        return Recovered::Corrupt(Damage::Header);
    };
    let mut entries = Entries::default();
    let mut at = 0;
    loop {
        let left = rest.get(at..).unwrap_or_default();
        match checked::read_record(left) {
            Next::End => break,
            Next::Damaged if intact_record_follows(left) => {
                return Recovered::Corrupt(Damage::Middle(header_bytes + at));
            }
            Next::Damaged => break,
            Next::Record { payload, size } => {
                let understood = Record::decode(payload).map(|record| entries.apply(&record));
                if !matches!(understood, Some(Ok(()))) {
                    return Recovered::Corrupt(Damage::Impossible(header_bytes + at));
                }
                at += size;
            }
        }
    }
    Recovered::Intact {
        journal_id,
        entries,
        valid_bytes: header_bytes + at,
    }
}

fn read_header(bytes: &[u8]) -> Option<JournalId> {
    let id = bytes.strip_prefix(MAGIC)?;
    match checked::read_record(id) {
        Next::Record { payload, .. } => JournalId::from_slice(payload),
        Next::End | Next::Damaged => None,
    }
}

fn intact_record_follows(damaged: &[u8]) -> bool {
    (1..damaged.len()).any(|at| {
        let left = damaged.get(at..).unwrap_or_default();
        match checked::read_record(left) {
            Next::Record { payload, .. } => Record::decode(payload).is_some(),
            Next::End | Next::Damaged => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::any_record;
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn journal_of(records: &[Record]) -> (Vec<u8>, Vec<(usize, Entries)>) {
        let mut bytes = header(JournalId(Uuid::from_u128(9)));
        let mut entries = Entries::default();
        let mut ends = vec![(bytes.len(), entries.clone())];
        for record in records {
            if entries.apply(record).is_ok() {
                encode(&mut bytes, record);
                ends.push((bytes.len(), entries.clone()));
            }
        }
        (bytes, ends)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_byte_prefix_recovers_every_whole_record(records in prop::collection::vec(any_record(), 0..12)) {
            let (bytes, ends) = journal_of(&records);
            for cut in 0..=bytes.len() {
                let whole = ends.iter().rev().find(|(end, _)| *end <= cut);
                match (recover(&bytes[..cut]), whole) {
                    (Recovered::Fresh, None) => {}
                    (Recovered::Intact { entries, valid_bytes, .. }, Some((end, expected))) => {
                        prop_assert_eq!(valid_bytes, *end);
                        prop_assert_eq!(&entries, expected);
                    }
                    (other, _) => prop_assert!(false, "cut at {}: {:?}", cut, other),
                }
            }
        }

        #[test]
        fn a_flipped_byte_before_intact_records_is_never_believed(
            records in prop::collection::vec(any_record(), 4..12),
            place in any::<prop::sample::Index>(),
        ) {
            let (bytes, ends) = journal_of(&records);
            prop_assume!(ends.len() > 2);
            let last_start = ends[ends.len() - 2].0;
            let mut damaged = bytes.clone();
            damaged[place.index(last_start)] ^= 0x40;
            prop_assert!(matches!(recover(&damaged), Recovered::Corrupt(_)));
        }
    }
}
