//! Checked records: a length, a checksum and a payload, so that a torn or altered write is seen. Used by the journal
//! and by exit records. Pure bytes; where they are kept is not decided here.

use sha2::{Digest, Sha256};

/// Four bytes of length, eight of checksum.
pub const PREFIX_BYTES: usize = 12;
/// Far above the largest real record (an outcome with two inline outputs is under 300 KiB); a larger length is damage.
pub const PAYLOAD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What stands at the start of a byte string.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A whole record, and how many bytes it takes.
    Record { payload: &'a [u8], size: usize },
    /// Nothing is left.
    End,
    /// The bytes end before the record does, or do not match their checksum.
    Damaged,
}

/// Appends a record around `payload`.
pub fn write_record(into: &mut Vec<u8>, payload: &[u8]) {
    // Payloads are made by this program and are far below 4 GiB; a longer one would be refused on reading.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    into.extend_from_slice(&length.to_le_bytes());
    into.extend_from_slice(&checksum(payload));
    into.extend_from_slice(payload);
}

/// Reads the record at the start of `bytes`.
pub fn read_record(bytes: &[u8]) -> Next<'_> {
    if bytes.is_empty() {
        return Next::End;
    }
    match whole_record(bytes) {
        Some((payload, size)) => Next::Record { payload, size },
        None => Next::Damaged,
    }
}

fn whole_record(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    let length = usize::try_from(length).ok()?;
    if length == 0 || length > PAYLOAD_BYTES_MAX {
        return None;
    }
    let size = PREFIX_BYTES + length;
    let payload = bytes.get(PREFIX_BYTES..size)?;
    (bytes.get(4..PREFIX_BYTES)? == checksum(payload)).then_some((payload, size))
}

/// The first eight bytes of SHA-256: damage is what it must catch, not an attacker (who could write the file anyway).
fn checksum(payload: &[u8]) -> [u8; 8] {
    let digest = Sha256::digest(payload);
    let mut short = [0; 8];
    short.copy_from_slice(&digest[..8]); // a SHA-256 digest has 32 bytes
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_any_cut_or_flip_is_seen() {
        let mut bytes = Vec::new();
        write_record(&mut bytes, b"hello");
        assert_eq!(
            read_record(&bytes),
            Next::Record {
                payload: b"hello",
                size: bytes.len()
            }
        );
        for cut in 1..bytes.len() {
            assert_eq!(read_record(&bytes[..cut]), Next::Damaged, "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert_eq!(read_record(&flipped), Next::Damaged, "flip at {at}");
        }
        assert_eq!(read_record(&[]), Next::End);
    }
}
