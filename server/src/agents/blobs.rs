//! Uploaded content for `deploy_file`: files named by their SHA-256, checked while they stream in, visible only when
//! whole. Who uploaded what is in the database.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

/// Promised by the API.
pub const BLOB_BYTES_MAX: u64 = 32 * 1024 * 1024;

#[derive(Clone, Debug)]
pub struct BlobStore {
    folder: PathBuf,
    /// Held while a file and its row come or go together.
    turn: Arc<Mutex<()>>,
    /// What all files take, those being received included.
    bytes: Arc<AtomicU64>,
    bytes_max: u64,
}

/// Content that was received and checked, and is not in its place yet. Dropped, it is removed.
#[derive(Debug)]
pub struct Received {
    partial: PathBuf,
    digest: BlobDigest,
    room: Room,
}

/// Bytes taken out of what all files may take; given back when dropped.
#[derive(Debug)]
struct Room {
    taken: u64,
    bytes: Arc<AtomicU64>,
}

#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("the content is larger than {BLOB_BYTES_MAX} bytes")]
    TooLarge,
    #[error("there is no room for more content: all of it may take {bytes_max} bytes")]
    Full { bytes_max: u64 },
    #[error("the content has the SHA-256 {found}")]
    Mismatch { found: String },
    /// The client went away or broke the transfer.
    #[error("the content broke off")]
    Interrupted,
    #[error("the file could not be stored")]
    Io(#[from] io::Error),
}

/// A SHA-256 as it is written in paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobDigest(pub [u8; 32]);

impl BlobDigest {
    /// 64 lower-case hex digits and nothing else, so it is safe as a file name.
    pub fn parse(text: &str) -> Option<Self> {
        if !fleetwright_protocol::validate::sha256_hex(text) {
            return None;
        }
        let bytes = hex::decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }

    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

impl BlobStore {
    /// Makes the folder, and clears what an earlier run left unfinished in it. All content together takes at most
    /// `bytes_max`. Blocking; for start-up.
    pub fn open(folder: &Path, bytes_max: u64) -> io::Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let mut bytes = 0_u64;
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(".partial") {
                std::fs::remove_file(entry.path())?;
            } else {
                bytes = bytes.saturating_add(entry.metadata()?.len());
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            turn: Arc::default(),
            bytes: Arc::new(AtomicU64::new(bytes)),
            bytes_max,
        })
    }

    /// Alone with all files and their rows: content that is placed is not removed at the same time.
    pub async fn alone(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Receives content and checks it against its digest. `id` makes the partial file's name its own.
    pub async fn receive<E>(
        &self,
        digest: BlobDigest,
        id: Uuid,
        content: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<Received, BlobError> {
        let received = Received {
            partial: self.folder.join(format!("{id}.partial")),
            digest,
            room: Room {
                taken: 0,
                bytes: Arc::clone(&self.bytes),
            },
        };
        self.receive_to(received, content).await
    }

    /// Puts it in its place, for whoever is [`alone`](Self::alone); returns its size.
    pub async fn place(&self, mut received: Received) -> Result<u64, BlobError> {
        let path = self.path(received.digest);
        let replaced = match fs::metadata(&path).await {
            Ok(found) => found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error.into()),
        };
        fs::rename(&received.partial, &path).await?;
        let size = std::mem::take(&mut received.room.taken);
        // The same content was there: its room is free again.
        self.bytes.fetch_sub(replaced, Ordering::Relaxed);
        File::open(&self.folder).await?.sync_all().await?;
        Ok(size)
    }

    /// Removes the content, if it is there, for whoever is [`alone`](Self::alone).
    pub async fn remove(&self, digest: BlobDigest) -> io::Result<()> {
        let path = self.path(digest);
        let removed = async {
            let size = fs::metadata(&path).await?.len();
            fs::remove_file(&path).await?;
            Ok::<u64, io::Error>(size)
        };
        match removed.await {
            Ok(size) => {
                self.bytes.fetch_sub(size, Ordering::Relaxed);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The contents whose files are older than that.
    pub async fn older_than(&self, age: Duration) -> io::Result<Vec<BlobDigest>> {
        let mut entries = fs::read_dir(&self.folder).await?;
        let mut found = Vec::new();
        while let Some(entry) = entries.next_entry().await? {
            let Some(digest) = entry.file_name().to_str().and_then(BlobDigest::parse) else {
                continue;
            };
            let changed = entry.metadata().await.and_then(|file| file.modified());
            if changed.is_ok_and(|time| time.elapsed().is_ok_and(|past| past > age)) {
                found.push(digest);
            }
        }
        Ok(found)
    }

    /// The file and its size, if there is one.
    pub async fn find(&self, digest: BlobDigest) -> io::Result<Option<(File, u64)>> {
        match File::open(self.path(digest)).await {
            Ok(file) => {
                let size = file.metadata().await?.len();
                Ok(Some((file, size)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn receive_to<E>(
        &self,
        mut received: Received,
        content: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<Received, BlobError> {
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&received.partial)
            .await?;
        let mut content = std::pin::pin!(content);
        let mut hash = Sha256::new();
        while let Some(chunk) = content.next().await {
            let chunk = chunk.map_err(|_| BlobError::Interrupted)?;
            let bytes = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            if received.room.taken.saturating_add(bytes) > BLOB_BYTES_MAX {
                return Err(BlobError::TooLarge);
            }
            if !received.room.take(bytes, self.bytes_max) {
                let bytes_max = self.bytes_max;
                return Err(BlobError::Full { bytes_max });
            }
            hash.update(&chunk);
            file.write_all(&chunk).await?;
        }
        let found: [u8; 32] = hash.finalize().into();
        if found != received.digest.0 {
            return Err(BlobError::Mismatch {
                found: hex::encode(found),
            });
        }
        file.sync_all().await?;
        Ok(received)
    }

    fn path(&self, digest: BlobDigest) -> PathBuf {
        self.folder.join(digest.to_hex())
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        // Best effort, and not there once it was placed: what stays is cleared at the next start.
        let _ = std::fs::remove_file(&self.partial);
    }
}

impl Room {
    /// Takes so many bytes more; `false` if there are not so many left.
    fn take(&mut self, bytes: u64, bytes_max: u64) -> bool {
        let grown = |all: u64| all.checked_add(bytes).filter(|all| *all <= bytes_max);
        let taken = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown);
        if taken.is_ok() {
            self.taken += bytes;
        }
        taken.is_ok()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use tokio::io::AsyncReadExt as _;

    fn digest(content: &[u8]) -> BlobDigest {
        BlobDigest(Sha256::digest(content).into())
    }

    fn chunks(parts: &[&'static [u8]]) -> impl Stream<Item = Result<Bytes, ()>> + use<> {
        let parts: Vec<_> = parts
            .iter()
            .map(|part| Ok(Bytes::from_static(part)))
            .collect();
        stream::iter(parts)
    }

    fn files(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    #[tokio::test]
    async fn content_comes_back_as_it_went_in() {
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::open(folder.path(), u64::MAX).unwrap();
        let digest = digest(b"hello");
        assert!(store.find(digest).await.unwrap().is_none());
        for round in 0..2 {
            let content = chunks(&[b"hel", b"lo"]);
            let id = Uuid::from_u128(round);
            let received = store.receive(digest, id, content).await.unwrap();
            assert!(round > 0 || store.find(digest).await.unwrap().is_none());
            assert_eq!(store.place(received).await.unwrap(), 5);
        }
        assert_eq!(store.bytes.load(Ordering::Relaxed), 5, "once");
        let (mut file, size) = store.find(digest).await.unwrap().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).await.unwrap();
        assert_eq!((text.as_str(), size), ("hello", 5));
        assert_eq!(files(folder.path()), 1);
        for _again in 0..2 {
            store.remove(digest).await.unwrap();
            assert_eq!(files(folder.path()), 0);
            assert_eq!(store.bytes.load(Ordering::Relaxed), 0);
        }
    }

    #[tokio::test]
    async fn all_content_together_has_a_limit_also_while_it_is_received() {
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::open(folder.path(), 10).unwrap();
        let receive = async |content: &'static [u8], id| {
            let found = store.receive(digest(content), Uuid::from_u128(id), chunks(&[content]));
            found.await
        };
        let first = receive(b"123456", 1).await.unwrap();
        let full = receive(b"12345", 2).await;
        assert!(
            matches!(full, Err(BlobError::Full { bytes_max: 10 })),
            "{full:?}"
        );
        drop(first);
        let second = receive(b"12345", 3).await.unwrap();
        store.place(second).await.unwrap();
        assert!(receive(b"123456", 4).await.is_err());
        let reopened = BlobStore::open(folder.path(), 10).unwrap();
        assert_eq!(reopened.bytes.load(Ordering::Relaxed), 5);
        store.remove(digest(b"12345")).await.unwrap();
        assert!(receive(b"123456", 5).await.is_ok());
        assert_eq!(files(folder.path()), 0, "what was not placed is gone");
    }

    #[tokio::test]
    async fn wrong_broken_or_too_large_content_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::open(folder.path(), u64::MAX).unwrap();
        let wrong = store
            .receive(digest(b"a"), Uuid::nil(), chunks(&[b"b"]))
            .await;
        assert!(matches!(wrong, Err(BlobError::Mismatch { .. })));
        let broken = stream::iter([Ok(Bytes::from_static(b"a")), Err(())]);
        let broken = store.receive(digest(b"a"), Uuid::nil(), broken).await;
        assert!(matches!(broken, Err(BlobError::Interrupted)));
        let mebibyte = Bytes::from(vec![0; 1024 * 1024]);
        let large = stream::iter((0..33).map(|_| Ok::<_, ()>(mebibyte.clone())));
        let large = store.receive(digest(b"a"), Uuid::nil(), large).await;
        assert!(matches!(large, Err(BlobError::TooLarge)));
        assert_eq!(files(folder.path()), 0);
    }

    #[test]
    fn what_an_earlier_run_left_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.partial"), "half").unwrap();
        BlobStore::open(folder.path(), u64::MAX).unwrap();
        assert_eq!(files(folder.path()), 0);
    }

    #[test]
    fn only_lower_case_hex_is_a_digest() {
        let good = "0123456789abcdef".repeat(4);
        assert_eq!(BlobDigest::parse(&good).unwrap().to_hex(), good);
        for bad in ["", "../../etc/passwd", &good.to_uppercase(), &good[1..]] {
            assert_eq!(BlobDigest::parse(bad), None, "{bad}");
        }
    }
}
