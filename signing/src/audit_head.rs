//! A signed head of a server's audit log: what an auditor keeps elsewhere. Whoever holds one finds later that rows up to it
//! were altered or removed, also by somebody who has the database and the key that chains its rows. Pure.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Bytes of a key's id, shown in hexadecimal digits.
const KEY_ID_BYTES: usize = 8;

/// What the server says of its newest row, and its signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// The newest row's number; 0 of a log without rows.
    pub sequence: i64,
    /// The newest row's digest, in hex.
    pub digest: String,
    /// When the newest row was written, likewise as signed; empty of a log without rows.
    pub row_at: String,
    /// When it was signed: RFC 3339 in UTC, exactly as signed.
    pub at: String,
    /// The beginning of the SHA-256 of the public key, in hex.
    pub key_id: String,
    /// Ed25519, in hex.
    pub public_key: String,
    /// Ed25519 over [`AuditHead::message`], in hex.
    pub signature: String,
}

/// Why a head is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    #[error("the head was signed by another key than the one expected")]
    AnotherKey,
    #[error("the head's key id does not belong to its public key")]
    KeyId,
    #[error("the signature does not fit the head: it was altered, or it is none")]
    Signature,
}

impl AuditHead {
    /// The signed text: six lines.
    pub fn message(&self) -> String {
        format!(
            "fleetwright-audit-head-1\n{}\n{}\n{}\n{}\n{}\n",
            self.sequence, self.digest, self.row_at, self.at, self.key_id
        )
    }

    /// Signs what is known of the newest row at a time.
    pub fn sign(
        pair: &Ed25519KeyPair,
        sequence: i64,
        digest: &[u8],
        row_at: String,
        at: String,
    ) -> Self {
        let public_key = pair.public_key().as_ref();
        let mut head = Self {
            sequence,
            digest: hex::encode(digest),
            row_at,
            at,
            key_id: key_id(public_key),
            public_key: hex::encode(public_key),
            signature: String::new(),
        };
        head.signature = hex::encode(pair.sign(head.message().as_bytes()));
        head
    }

    /// Checks the signature by the public key in the head; where another one is expected (in hex), that it is this one.
    pub fn verify(&self, expected_public_key: Option<&str>) -> Result<(), HeadError> {
        if expected_public_key.is_some_and(|key| !key.eq_ignore_ascii_case(&self.public_key)) {
            return Err(HeadError::AnotherKey);
        }
        let public_key = hex::decode(&self.public_key).map_err(|_| HeadError::KeyId)?;
        if self.key_id != key_id(&public_key) {
            return Err(HeadError::KeyId);
        }
        let signature = hex::decode(&self.signature).map_err(|_| HeadError::Signature)?;
        UnparsedPublicKey::new(&ED25519, public_key)
            .verify(self.message().as_bytes(), &signature)
            .map_err(|_| HeadError::Signature)
    }
}

/// The id of a public key.
pub fn key_id(public_key: &[u8]) -> String {
    let digest = Sha256::digest(public_key);
    hex::encode(digest.get(..KEY_ID_BYTES).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(seed: u8) -> AuditHead {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let [row_at, at] = ["2026-01-31T11:00:00.000Z", "2026-01-31T12:00:00.000Z"];
        AuditHead::sign(&pair, 17, &[9; 32], row_at.to_owned(), at.to_owned())
    }

    #[test]
    fn a_head_is_believed_as_it_was_signed_and_with_no_field_changed() {
        let good = head(1);
        assert_eq!(good.verify(None), Ok(()));
        assert_eq!(good.verify(Some(&good.public_key.to_uppercase())), Ok(()));
        type Change = fn(&mut AuditHead);
        let changes: [(&str, Change); 6] = [
            ("row_at", |head| head.row_at = head.at.clone()),
            ("sequence", |head| head.sequence += 1),
            ("digest", |head| head.digest = hex::encode([8; 32])),
            ("at", |head| head.at.push(' ')),
            ("signature", |head| head.signature = hex::encode([0; 64])),
            ("signature is text", |head| head.signature = "x".to_owned()),
        ];
        for (what, change) in changes {
            let mut bad = good.clone();
            change(&mut bad);
            assert_eq!(bad.verify(None), Err(HeadError::Signature), "{what}");
        }
    }

    #[test]
    fn a_head_of_another_key_is_not_taken_for_one_of_the_expected_key() {
        let (one, other) = (head(1), head(2));
        assert_eq!(
            one.verify(Some(&other.public_key)),
            Err(HeadError::AnotherKey)
        );
        let mut mixed = one.clone();
        mixed.public_key = other.public_key.clone();
        assert_eq!(mixed.verify(None), Err(HeadError::KeyId));
        mixed.key_id = other.key_id;
        assert_eq!(mixed.verify(None), Err(HeadError::Signature));
    }
}
