//! Where the content of large files comes from.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use crate::operations::deploy_file::Content;
use crate::server_client::{ServerClient, ServerError};

pub enum Blobs {
    /// Run by hand, without a server.
    Unavailable,
    Server(Arc<ServerClient>),
}

#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("there is no server to ask")]
    NoServer,
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("cannot make a file for it: {0}")]
    Disk(#[from] std::io::Error),
}

impl Blobs {
    /// Fetches and verifies a blob into a file that has no name any more, so that none is ever left over.
    pub async fn fetch(&self, sha256: &str, data_dir: &Path) -> Result<Content, BlobError> {
        let Self::Server(server) = self else {
            return Err(BlobError::NoServer);
        };
        let path = data_dir.join(format!("blob-{}", uuid::Uuid::new_v4()));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        std::fs::remove_file(&path)?;
        let bytes = server.download_blob(sha256, &mut file).await?;
        Ok(Content::File { file, bytes })
    }

    /// Fetches and verifies a blob into the file of this name, on disk before this returns.
    pub async fn fetch_into(&self, sha256: &str, path: &Path) -> Result<(), BlobError> {
        let Self::Server(server) = self else {
            return Err(BlobError::NoServer);
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        server.download_blob(sha256, &mut file).await?;
        Ok(file.sync_all()?)
    }
}
