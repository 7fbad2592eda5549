//! Keeps the two ends of an output stream in bounded memory and disk, with the length and digest of all of it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fleetwright_protocol::OutputSummary;
use fleetwright_protocol::frame::{Section, Stream};
use fleetwright_protocol::limits::{
    OUTPUT_HEAD_BYTES_MAX, OUTPUT_INLINE_BYTES_MAX, OUTPUT_TAIL_BYTES_MAX,
};
use sha2::{Digest, Sha256};

/// Where the kept bytes of a long stream lie in the folder of its run.
pub fn section_path(folder: &Path, stream: Stream, section: Section) -> PathBuf {
    folder.join(match (stream, section) {
        (Stream::Stdout, Section::Head) => "stdout.head",
        (Stream::Stdout, Section::Tail) => "stdout.tail",
        (Stream::Stderr, Section::Head) => "stderr.head",
        (Stream::Stderr, Section::Tail) => "stderr.tail",
    })
}

pub struct Spool {
    folder: PathBuf,
    stream: Stream,
    total_bytes: u64,
    digest: Sha256,
    /// The stream so far, while it is short.
    short: Vec<u8>,
    long: Option<LongOutput>,
    trouble: Option<String>,
}

/// A stream that outgrew what travels inside a result.
struct LongOutput {
    head: Option<File>,
    head_bytes: usize,
    tail: Ring,
}

impl Spool {
    pub fn new(folder: &Path, stream: Stream) -> Self {
        Self {
            folder: folder.to_owned(),
            stream,
            total_bytes: 0,
            digest: Sha256::new(),
            short: Vec::new(),
            long: None,
            trouble: None,
        }
    }

    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Takes in the next bytes. Never fails: what cannot be kept is counted and dropped.
    pub fn push(&mut self, data: &[u8]) {
        self.digest.update(data);
        self.total_bytes += data.len() as u64;
        if self.long.is_none() && self.short.len() + data.len() <= OUTPUT_INLINE_BYTES_MAX {
            self.short.extend_from_slice(data);
            return;
        }
        if self.long.is_none() {
            self.long = Some(LongOutput {
                head: None,
                head_bytes: 0,
                tail: Ring::default(),
            });
            match self.create(Section::Head) {
                Ok(file) => self.set_head(Some(file)),
                Err(error) => self.note(&error),
            }
            let short = std::mem::take(&mut self.short);
            self.push_long(&short);
        }
        self.push_long(data);
    }

    /// Ends the stream: what to say of it, and what went wrong in keeping it.
    pub fn finish(mut self) -> (OutputSummary, Option<String>) {
        let mut summary = OutputSummary {
            total_bytes: self.total_bytes,
            ..OutputSummary::default()
        };
        if self.total_bytes > 0 {
            summary.sha256 = hex::encode(self.digest.clone().finalize());
        }
        let Some(long) = self.long.take() else {
            summary.head = self.short;
            return (summary, self.trouble);
        };
        summary.in_parts = true;
        summary.head_bytes = long.head_bytes as u64;
        let (older, newer) = long.tail.ends();
        if long.tail.len() > 0 {
            let written = self
                .create(Section::Tail)
                .and_then(|mut file| file.write_all(older).and_then(|()| file.write_all(newer)));
            match written {
                Ok(()) => summary.tail_bytes = long.tail.len() as u64,
                Err(error) => self.note(&error),
            }
        }
        (summary, self.trouble)
    }

    /// Gives up the kept bytes, to make room on a full disk for something more important.
    pub fn discard_files(folder: &Path) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            for section in [Section::Head, Section::Tail] {
                // Nothing to do if it was not there.
                let _ = std::fs::remove_file(section_path(folder, stream, section));
            }
        }
    }

    fn push_long(&mut self, data: &[u8]) {
        let Some(long) = &mut self.long else { return };
        let mut rest = data;
        if let Some(file) = &mut long.head {
            let room = OUTPUT_HEAD_BYTES_MAX - long.head_bytes;
            let (head, beyond) = data.split_at(data.len().min(room));
            match file.write_all(head) {
                Ok(()) => {
                    long.head_bytes += head.len();
                    rest = beyond;
                    if long.head_bytes == OUTPUT_HEAD_BYTES_MAX {
                        long.head = None;
                    }
                }
                Err(error) => {
                    // Keep only whole writes, so that the head has no hole before the tail.
                    long.head = None;
                    self.note(&error);
                }
            }
        }
        if let Some(long) = &mut self.long {
            long.tail.push(rest);
        }
    }

    fn set_head(&mut self, file: Option<File>) {
        if let Some(long) = &mut self.long {
            long.head = file;
        }
    }

    fn create(&self, section: Section) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(section_path(&self.folder, self.stream, section))
    }

    fn note(&mut self, error: &io::Error) {
        self.trouble
            .get_or_insert_with(|| format!("not all output could be kept: {error}"));
    }
}

/// The last bytes of a stream.
#[derive(Default)]
struct Ring {
    bytes: Vec<u8>,
    /// Where the oldest byte is, once the ring is full.
    oldest: usize,
}

impl Ring {
    fn push(&mut self, data: &[u8]) {
        let keep = data.len().saturating_sub(OUTPUT_TAIL_BYTES_MAX);
        let mut data = data.get(keep..).unwrap_or_default();
        let room = OUTPUT_TAIL_BYTES_MAX - self.bytes.len();
        let (fits, over) = data.split_at(data.len().min(room));
        self.bytes.extend_from_slice(fits);
        data = over;
        while !data.is_empty() {
            // Full here: the ring has exactly its largest size, so `oldest` lies inside it.
            let run = data.len().min(self.bytes.len() - self.oldest);
            let (now, later) = data.split_at(run);
            self.bytes[self.oldest..self.oldest + run].copy_from_slice(now);
            self.oldest = (self.oldest + run) % self.bytes.len();
            data = later;
        }
    }

    fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes in order, in two pieces.
    fn ends(&self) -> (&[u8], &[u8]) {
        let (newer, older) = self.bytes.split_at(self.oldest);
        (older, newer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kept(folder: &Path, summary: &OutputSummary) -> (Vec<u8>, Vec<u8>) {
        if !summary.in_parts {
            return (summary.head.clone(), Vec::new());
        }
        let read = |section, bytes: u64| {
            let mut content =
                std::fs::read(section_path(folder, Stream::Stdout, section)).unwrap_or_default();
            content.truncate(bytes as usize);
            content
        };
        (
            read(Section::Head, summary.head_bytes),
            read(Section::Tail, summary.tail_bytes),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn both_ends_are_kept_without_overlap_whatever_the_chunks(
            total in prop::sample::select(vec![
                0, 1, OUTPUT_INLINE_BYTES_MAX, OUTPUT_INLINE_BYTES_MAX + 1, OUTPUT_HEAD_BYTES_MAX,
                OUTPUT_HEAD_BYTES_MAX + 1, OUTPUT_HEAD_BYTES_MAX + OUTPUT_TAIL_BYTES_MAX,
                OUTPUT_HEAD_BYTES_MAX + OUTPUT_TAIL_BYTES_MAX + 7, 5 * OUTPUT_HEAD_BYTES_MAX + 3,
            ]),
            chunk in 1..1_500_000usize,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let all: Vec<u8> = (0..total).map(|at| (at * 31 / 7) as u8).collect();
            let mut spool = Spool::new(folder.path(), Stream::Stdout);
            all.chunks(chunk.max(1_000)).for_each(|chunk| spool.push(chunk));
            let (summary, trouble) = spool.finish();
            prop_assert_eq!(trouble, None);
            prop_assert_eq!(summary.total_bytes, total as u64);
            prop_assert_eq!(summary.in_parts, total > OUTPUT_INLINE_BYTES_MAX);
            if total > 0 {
                prop_assert_eq!(&summary.sha256, &hex::encode(Sha256::digest(&all)));
            }
            let (head, tail) = kept(folder.path(), &summary);
            let head_end = total.min(OUTPUT_HEAD_BYTES_MAX);
            let tail_start = head_end.max(total.saturating_sub(OUTPUT_TAIL_BYTES_MAX));
            prop_assert!(head == all[..head_end]);
            prop_assert!(tail == all[tail_start..]);
        }
    }

    #[test]
    fn output_that_cannot_be_written_is_counted_and_said_so() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let mut spool = Spool::new(&gone, Stream::Stdout);
        spool.push(&vec![1; OUTPUT_INLINE_BYTES_MAX + 1]);
        let (summary, trouble) = spool.finish();
        assert_eq!(summary.total_bytes, OUTPUT_INLINE_BYTES_MAX as u64 + 1);
        assert_eq!((summary.head_bytes, summary.tail_bytes), (0, 0));
        assert!(trouble.unwrap().contains("not all output could be kept"));
    }
}
