//! The key of the audit log. It lies in the data folder and not in the database: whoever has only the database can
//! neither make a row, nor move an anchor, nor sign a head. The file also says where the key's part of the log begins, so
//! that no later row can be passed off as one from before there was a key.

use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use fleetwright_signing::{AuditHead, audit_head};
use serde::{Deserialize, Serialize};

use super::anchor::{Anchor, Digest, MacInput};
use crate::http::Timestamp;
use crate::secret_file;

const FILE: &str = "audit.key";
const SECRET_BYTES: usize = 32;

/// What the log was when this key's part of it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The newest row then; this key's rows follow it.
    pub head: Mark,
    pub floor: Mark,
    /// The rows up to there are from before the log had any key: they are chained by plain digests, and `head` holds them
    /// fast. Else they are under a key that was lost.
    pub first: bool,
}

/// A row's number and digest in the key's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub sequence: i64,
    pub digest: Digest,
}

#[derive(Serialize, Deserialize)]
struct Content {
    secret: String,
    begun: Begun,
}

pub struct AuditKey {
    chain: hmac::Key,
    pair: Ed25519KeyPair,
    pub id: String,
    pub begun: Begun,
    /// The data folder, where the latest signed head is kept too.
    pub folder: PathBuf,
}

/// Which of the two anchors; part of what authenticates them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Head,
    Floor,
}

impl Which {
    pub fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Floor => "floor",
        }
    }
}

impl AuditKey {
    /// Reads the key from the folder. Where there is none, makes one whose part of the log begins as `begun` says; then
    /// the second value is true.
    pub fn read_or_create(folder: &Path, begun: Begun) -> io::Result<(Self, bool)> {
        let mut made = false;
        let path = folder.join(FILE);
        let content = secret_file::read_or_create(&path, || {
            made = true;
            let secret = hex::encode(secret_file::random_secret()?);
            Ok(serde_json::to_vec(&Content { secret, begun })?)
        })?;
        let damaged = || {
            io::Error::other(format!(
                "{} is damaged; restore it from a backup",
                path.display()
            ))
        };
        let content: Content = serde_json::from_slice(&content).map_err(|_| damaged())?;
        let secret = hex::decode(&content.secret).map_err(|_| damaged())?;
        if secret.len() != SECRET_BYTES {
            return Err(damaged());
        }
        let key = Self::from_secret(&secret, content.begun, folder).ok_or_else(damaged)?;
        Ok((key, made))
    }

    /// From one secret a key for rows and anchors and one for heads.
    pub(super) fn from_secret(secret: &[u8], begun: Begun, folder: &Path) -> Option<Self> {
        let whole = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derive = |purpose: &str| hmac::sign(&whole, purpose.as_bytes());
        let chain = derive("fleetwright-audit-chain-key-1");
        let seed = derive("fleetwright-audit-head-key-1");
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).ok()?;
        Some(Self {
            chain: hmac::Key::new(hmac::HMAC_SHA256, chain.as_ref()),
            id: audit_head::key_id(pair.public_key().as_ref()),
            pair,
            begun,
            folder: folder.to_owned(),
        })
    }

    /// The digest of a row or an anchor under this key.
    pub(super) fn mac(&self, input: impl FnOnce(&mut MacInput<'_>)) -> Digest {
        let mut context = hmac::Context::with_key(&self.chain);
        input(&mut |bytes| context.update(bytes));
        let mut digest = [0; 32];
        // A tag of HMAC-SHA-256 is as long.
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }

    /// What authenticates an anchor.
    pub(super) fn seal(&self, which: Which, anchor: &Anchor) -> Digest {
        self.mac(|input| {
            input(b"fleetwright-audit-anchor-1:");
            input(which.name().as_bytes());
            input(&anchor.sequence.to_be_bytes());
            input(&anchor.digest);
        })
    }

    /// Whether this server put the anchor where it is.
    pub(super) fn vouches(&self, which: Which, anchor: &Anchor, mac: Option<&[u8]>) -> bool {
        let expected = self.seal(which, anchor);
        mac.is_some_and(|mac| {
            aws_lc_rs::constant_time::verify_slices_are_equal(&expected, mac).is_ok()
        })
    }

    /// Signs the newest row, which was written at `row_us` if there is one, as of a time.
    pub fn sign(&self, head: &Anchor, row_us: Option<i64>, at_us: i64) -> AuditHead {
        let row_at = row_us.map(|at_us| Timestamp(at_us).to_string());
        let at = Timestamp(at_us).to_string();
        AuditHead::sign(
            &self.pair,
            head.sequence,
            &head.digest,
            row_at.unwrap_or_default(),
            at,
        )
    }

    /// Whether this key signed the head.
    pub fn signed(&self, head: &AuditHead) -> bool {
        let public_key = hex::encode(self.pair.public_key().as_ref());
        head.verify(Some(&public_key)).is_ok()
    }

    /// Completes a head from what was kept of it with this key's own; whether this key signed it is another question.
    pub fn completed(&self, head: AuditHead) -> AuditHead {
        AuditHead {
            key_id: self.id.clone(),
            public_key: hex::encode(self.pair.public_key().as_ref()),
            ..head
        }
    }
}

impl From<Anchor> for Mark {
    fn from(anchor: Anchor) -> Self {
        Self {
            sequence: anchor.sequence,
            digest: anchor.digest,
        }
    }
}

impl From<Mark> for Anchor {
    fn from(mark: Mark) -> Self {
        Self {
            sequence: mark.sequence,
            digest: mark.digest,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::audit::GENESIS;

    /// A key whose part begins with the log.
    pub fn key(secret: u8) -> AuditKey {
        let zero = Mark {
            sequence: 0,
            digest: GENESIS,
        };
        let begun = Begun {
            head: zero,
            floor: zero,
            first: true,
        };
        AuditKey::from_secret(&[secret; 32], begun, Path::new("/nowhere")).expect("a key")
    }

    #[test]
    fn an_anchor_is_vouched_for_by_its_key_at_its_place_and_under_its_name_alone() {
        let anchor = Anchor {
            sequence: 7,
            digest: [1; 32],
        };
        let mac = key(1).seal(Which::Head, &anchor);
        assert!(key(1).vouches(Which::Head, &anchor, Some(&mac)));
        assert!(!key(2).vouches(Which::Head, &anchor, Some(&mac)));
        assert!(!key(1).vouches(Which::Floor, &anchor, Some(&mac)));
        let moved = Anchor {
            sequence: 8,
            ..anchor
        };
        assert!(!key(1).vouches(Which::Head, &moved, Some(&mac)));
        assert!(!key(1).vouches(Which::Head, &anchor, None));
    }

    #[test]
    fn a_key_is_made_once_is_its_owners_alone_and_a_damaged_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let begun = key(1).begun;
        let (first, made) = AuditKey::read_or_create(folder.path(), begun).unwrap();
        assert!(made);
        let later = Begun {
            first: false,
            ..begun
        };
        let (again, made) = AuditKey::read_or_create(folder.path(), later).unwrap();
        assert!(!made);
        assert_eq!((&again.id, again.begun), (&first.id, begun));
        for damaged in ["", "{", r#"{"secret":"00"}"#] {
            std::fs::write(folder.path().join(FILE), damaged).unwrap();
            let refused = AuditKey::read_or_create(folder.path(), begun);
            assert!(refused.is_err(), "{damaged}");
        }
    }
}
