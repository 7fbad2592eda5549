//! The bytes to deploy: what the operation carries itself, or a blob on disk.

use std::fs::File;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetwright_protocol::SecretValues;
use fleetwright_protocol::operation::DeployFile;

use crate::operations::{CannotRun, secrets};

/// The bytes to deploy.
#[derive(Debug)]
pub enum Content {
    Bytes(Vec<u8>),
    /// A downloaded and verified blob.
    File {
        file: File,
        bytes: u64,
    },
}

impl Content {
    /// What the command carries itself; `None` if it names a blob.
    pub fn carried(file: &DeployFile, values: &SecretValues) -> Result<Option<Self>, CannotRun> {
        if let Some(reference) = &file.content_secret {
            let bytes = secrets::value(reference, values)?.bytes();
            return Ok(Some(Self::Bytes(bytes.to_vec())));
        }
        Ok(match (&file.content, &file.content_base64) {
            (Some(text), _) => Some(Self::Bytes(text.as_bytes().to_vec())),
            // Validation has decoded it before.
            (None, Some(text)) => STANDARD.decode(text).ok().map(Self::Bytes),
            (None, None) => None,
        })
    }

    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { bytes, .. } => *bytes,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
