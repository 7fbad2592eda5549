//! Uploaded content for `deploy_file`: files named by their SHA-256, checked while they stream in, visible only when
//! whole. Who uploaded what is in the database.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

/// Promised by the API.
pub const BLOB_BYTES_MAX: u64 = 32 * 1024 * 1024;

#[derive(Clone, Debug)]
pub struct BlobStore {
    folder: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("the content is larger than {BLOB_BYTES_MAX} bytes")]
    TooLarge,
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
    /// Makes the folder, and clears what an earlier run left unfinished in it. Blocking; for start-up.
    pub fn open(folder: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(".partial") {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Stores content under its digest; returns its size. `id` makes the partial file's name its own.
    pub async fn receive<E>(
        &self,
        digest: BlobDigest,
        id: Uuid,
        content: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<u64, BlobError> {
        let partial = self.folder.join(format!("{id}.partial"));
        let received = self.receive_to(&partial, digest, content).await;
        if received.is_err() {
            // Best effort: what stays is cleared at the next start.
            let _ = fs::remove_file(&partial).await;
        }
        received
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
        partial: &Path,
        digest: BlobDigest,
        content: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<u64, BlobError> {
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(partial)
            .await?;
        let mut content = std::pin::pin!(content);
        let mut hash = Sha256::new();
        let mut size = 0_u64;
        while let Some(chunk) = content.next().await {
            let chunk = chunk.map_err(|_| BlobError::Interrupted)?;
            size += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            if size > BLOB_BYTES_MAX {
                return Err(BlobError::TooLarge);
            }
            hash.update(&chunk);
            file.write_all(&chunk).await?;
        }
        let found: [u8; 32] = hash.finalize().into();
        if found != digest.0 {
            return Err(BlobError::Mismatch {
                found: hex::encode(found),
            });
        }
        file.sync_all().await?;
        fs::rename(partial, self.path(digest)).await?;
        File::open(&self.folder).await?.sync_all().await?;
        Ok(size)
    }

    fn path(&self, digest: BlobDigest) -> PathBuf {
        self.folder.join(digest.to_hex())
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
        let store = BlobStore::open(folder.path()).unwrap();
        let digest = digest(b"hello");
        assert!(store.find(digest).await.unwrap().is_none());
        for round in 0..2 {
            let content = chunks(&[b"hel", b"lo"]);
            let size = store
                .receive(digest, Uuid::from_u128(round), content)
                .await
                .unwrap();
            assert_eq!(size, 5);
        }
        let (mut file, size) = store.find(digest).await.unwrap().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).await.unwrap();
        assert_eq!((text.as_str(), size), ("hello", 5));
        assert_eq!(files(folder.path()), 1);
    }

    #[tokio::test]
    async fn wrong_broken_or_too_large_content_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::open(folder.path()).unwrap();
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
        BlobStore::open(folder.path()).unwrap();
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
