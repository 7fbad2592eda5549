//! Long outputs on their way in: parts are appended to files, so that an interrupted upload resumes where it was, and
//! the database sees one write at the end. Parts are taken only of what their host works on, so there are at most 4 MiB
//! for each of these; what an attempt leaves behind that never brings its result is swept.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use fleetwright_protocol::frame::{Section, Stream};
use fleetwright_protocol::limits::{
    OUTPUT_HEAD_BYTES_MAX, OUTPUT_INLINE_BYTES_MAX, OUTPUT_TAIL_BYTES_MAX,
};
use fleetwright_protocol::outcome::{Outcome, OutputSummary};
use fleetwright_protocol::{CommandId, validate};

use super::store::{StoredOutput, StoredStream};

/// Where parts wait for the rest of their output.
#[derive(Clone)]
pub struct Spool {
    directory: PathBuf,
}

/// Names one section of one stream of one attempt.
#[derive(Clone, Copy, Debug)]
pub struct PartKey {
    pub command_id: CommandId,
    pub attempt: u32,
    pub stream: Stream,
    pub section: Section,
}

impl Spool {
    /// Creates the directory if it is missing.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let directory = data_dir.join("outputs");
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)?;
        Ok(Self { directory })
    }

    /// Appends a part if it continues what is there. Returns how many bytes of the section are held now: the offset
    /// the agent goes on from.
    pub async fn append(&self, key: PartKey, offset: u64, data: Vec<u8>) -> io::Result<u64> {
        let path = self.path(key);
        blocking(move || append(&path, section_max(key.section), offset, &data)).await
    }

    /// The most memory that an outcome's output takes.
    pub fn bytes_of(outcome: &Outcome) -> usize {
        [&outcome.stdout, &outcome.stderr]
            .iter()
            .map(|stream| match stream.in_parts {
                true => OUTPUT_HEAD_BYTES_MAX + OUTPUT_TAIL_BYTES_MAX,
                false => stream.head.len(),
            })
            .sum()
    }

    /// Collects an outcome's output for storing.
    pub async fn collect(
        &self,
        command_id: CommandId,
        attempt: u32,
        outcome: &mut Outcome,
    ) -> io::Result<StoredOutput> {
        let in_parts = outcome.stdout.in_parts || outcome.stderr.in_parts;
        let stdout = std::mem::take(&mut outcome.stdout);
        let stderr = std::mem::take(&mut outcome.stderr);
        Ok(StoredOutput {
            stdout: self
                .stream(command_id, attempt, Stream::Stdout, stdout)
                .await?,
            stderr: self
                .stream(command_id, attempt, Stream::Stderr, stderr)
                .await?,
            in_parts,
        })
    }

    /// Removes an attempt's files; called when its result is stored.
    pub async fn forget(&self, command_id: CommandId, attempt: u32) {
        let paths: Vec<PathBuf> = [Stream::Stdout, Stream::Stderr]
            .into_iter()
            .flat_map(|stream| {
                [Section::Head, Section::Tail].map(|section| PartKey {
                    command_id,
                    attempt,
                    stream,
                    section,
                })
            })
            .map(|key| self.path(key))
            .collect();
        let removed = blocking(move || {
            for path in paths {
                match std::fs::remove_file(&path) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
        .await;
        if let Err(error) = removed {
            tracing::warn!(%error, "a spooled output could not be removed");
        }
    }

    /// The attempts of which there are files, each once.
    pub async fn attempts(&self) -> io::Result<Vec<(CommandId, u32)>> {
        let directory = self.directory.clone();
        blocking(move || {
            let mut found = BTreeSet::new();
            for entry in std::fs::read_dir(directory)? {
                found.extend(entry?.file_name().to_str().and_then(attempt_of));
            }
            Ok(found.into_iter().collect())
        })
        .await
    }

    async fn stream(
        &self,
        command_id: CommandId,
        attempt: u32,
        stream: Stream,
        summary: OutputSummary,
    ) -> io::Result<StoredStream> {
        let sha256 = if validate::sha256_hex(&summary.sha256) {
            summary.sha256
        } else {
            String::new()
        };
        if !summary.in_parts {
            let mut head = summary.head;
            head.truncate(OUTPUT_INLINE_BYTES_MAX);
            head.shrink_to_fit();
            let total_bytes = summary.total_bytes.max(head.len() as u64);
            return Ok(StoredStream {
                head,
                tail: Vec::new(),
                total_bytes,
                sha256,
            });
        }
        let read = |section| {
            let path = self.path(PartKey {
                command_id,
                attempt,
                stream,
                section,
            });
            blocking(move || read_or_empty(&path))
        };
        let head = read(Section::Head).await?;
        let tail = read(Section::Tail).await?;
        Ok(StoredStream {
            head,
            tail,
            total_bytes: summary.total_bytes,
            sha256,
        })
    }

    fn path(&self, key: PartKey) -> PathBuf {
        let stream = match key.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        let section = match key.section {
            Section::Head => "head",
            Section::Tail => "tail",
        };
        self.directory.join(format!(
            "{}-{}-{stream}-{section}.part",
            key.command_id, key.attempt
        ))
    }
}

/// Of a file's name: `<command>-<attempt>-<stream>-<section>.part`.
fn attempt_of(name: &str) -> Option<(CommandId, u32)> {
    /// Of a UUID's text form.
    const ID_CHARS: usize = 36;
    let id = name.get(..ID_CHARS)?.parse().ok()?;
    let (attempt, _) = name.get(ID_CHARS..)?.strip_prefix('-')?.split_once('-')?;
    Some((id, attempt.parse().ok()?))
}

fn section_max(section: Section) -> u64 {
    match section {
        Section::Head => OUTPUT_HEAD_BYTES_MAX as u64,
        Section::Tail => OUTPUT_TAIL_BYTES_MAX as u64,
    }
}

fn append(path: &Path, limit: u64, offset: u64, data: &[u8]) -> io::Result<u64> {
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?;
    let held = file.metadata()?.len();
    let fits = held + data.len() as u64 <= limit;
    if offset != held || !fits {
        return Ok(held);
    }
    file.write_all(data)?;
    Ok(held + data.len() as u64)
}

fn read_or_empty(path: &Path) -> io::Result<Vec<u8>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_append_only_where_the_last_one_ended() {
        let directory = std::env::temp_dir().join(format!("fw-spool-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("x.part");
        assert_eq!(append(&path, 10, 0, b"abc").unwrap(), 3);
        assert_eq!(
            append(&path, 10, 0, b"abc").unwrap(),
            3,
            "a repeated part changes nothing"
        );
        assert_eq!(append(&path, 10, 3, b"defghij").unwrap(), 10);
        assert_eq!(append(&path, 10, 10, b"k").unwrap(), 10, "over the limit");
        assert_eq!(std::fs::read(&path).unwrap(), b"abcdefghij");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
