//! The vendor keys this server trusts, for licences and modules alike.

use std::path::Path;

use fleetwright_signing::PublicKey;

/// Trusted keys, several at a time so that a vendor can change them.
#[derive(Clone, Debug, Default)]
pub struct TrustedKeys {
    pub keys: Vec<PublicKey>,
    /// Whether keys marked as development keys count.
    pub allow_development: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("the trusted key {path} cannot be read: {source}")]
    Read {
        path: String,
        source: std::io::Error,
    },
    #[error("the trusted key {path}: {source}")]
    Key {
        path: String,
        source: fleetwright_signing::KeyError,
    },
}

impl TrustedKeys {
    /// Each entry is a key's text or the path of a file with it.
    pub fn load(entries: &[String], allow_development: bool) -> Result<Self, TrustError> {
        let keys = entries
            .iter()
            .map(|entry| one(entry))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            keys,
            allow_development,
        })
    }
}

fn one(entry: &str) -> Result<PublicKey, TrustError> {
    if let Ok(key) = PublicKey::parse(entry) {
        return Ok(key);
    }
    let path = entry.to_owned();
    let text = std::fs::read_to_string(Path::new(entry)).map_err(|source| TrustError::Read {
        path: path.clone(),
        source,
    })?;
    PublicKey::parse(&text).map_err(|source| TrustError::Key { path, source })
}
