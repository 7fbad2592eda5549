//! The vendor keys this server trusts, for licences and modules alike.

use std::collections::BTreeMap;
use std::path::Path;

use fleetwright_signing::PublicKey;

/// Trusted keys, several at a time so that a vendor can change them.
#[derive(Clone, Debug, Default)]
pub struct TrustedKeys {
    pub keys: Vec<PublicKey>,
    /// Whether keys marked as development keys count.
    pub allow_development: bool,
    /// Key ids whose key was given with its owner's name.
    owners: BTreeMap<String, String>,
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
    /// Each entry is a key's text or the path of a file with it, with or without its owner before it: `OWNER=KEY`. Keys of
    /// one owner are one signer: a licence of the one unlocks modules of the other.
    pub fn load(entries: &[String], allow_development: bool) -> Result<Self, TrustError> {
        let mut trusted = Self {
            allow_development,
            ..Self::default()
        };
        for entry in entries {
            let (owner, rest) = split_owner(entry);
            let key = one(rest)?;
            if let Some(owner) = owner {
                trusted.owners.insert(key.id.to_string(), owner.to_owned());
            }
            trusted.keys.push(key);
        }
        Ok(trusted)
    }

    /// Who signs with this key: its owner, or else the key by itself.
    pub fn signer(&self, key_id: &str) -> String {
        let owner = self.owners.get(key_id);
        owner.map_or_else(|| format!("key {key_id}"), Clone::clone)
    }
}

/// An owner's name has neither blanks nor slashes, which tells it from a key's text (one line of it has no `=`) and from a
/// whole path.
fn split_owner(entry: &str) -> (Option<&str>, &str) {
    let is_name = |name: &str| {
        !name.is_empty()
            && name.len() <= 32
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || [b'-', b'_', b'.'].contains(&byte))
    };
    match entry.split_once('=') {
        Some((owner, rest)) if is_name(owner) && !rest.is_empty() => (Some(owner), rest),
        Some(_) | None => (None, entry),
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

#[cfg(test)]
mod tests {
    use fleetwright_signing::SecretKey;

    use super::*;

    #[test]
    fn keys_of_one_owner_are_one_signer_and_others_stand_alone() {
        let key = || {
            let secret = SecretKey::generate(false).expect("a key");
            secret.public().expect("its public half")
        };
        let (old, new, other) = (key(), key(), key());
        let entries = [
            format!("acme={}", old.to_text()),
            format!("acme={}", new.to_text()),
            other.to_text(),
        ];
        let trusted = TrustedKeys::load(&entries, false).expect("trusted");
        let signer = |key: &PublicKey| trusted.signer(&key.id.to_string());
        assert_eq!(signer(&old), "acme");
        assert_eq!(signer(&old), signer(&new));
        assert_ne!(signer(&old), signer(&other));
        assert_eq!(trusted.keys.len(), 3);
    }
}
