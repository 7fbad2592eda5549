//! Ed25519 keys in minisign's file format (without a password), so that `minisign` itself can check and make signatures.
//! One pair signs modules and licences. Development keys carry their mark in the key id, which travels in everything
//! they sign, so that a server can refuse them.

use std::fmt;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest as _};

/// The first bytes of a development key's id. A production key never has them (`SecretKey::generate`).
const DEVELOPMENT_MARK: [u8; 3] = *b"dev";
const ALGORITHM: [u8; 2] = *b"Ed";
const CHECKSUM_ALGORITHM: [u8; 2] = *b"B2";
/// Salt and two limits of the key derivation, which an unencrypted key leaves at zero.
const DERIVATION_BYTES: usize = 32 + 8 + 8;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    #[error("this is not a {0} file")]
    Format(&'static str),
    #[error("the key is protected by a password; make one without (`minisign -G -W`)")]
    Encrypted,
    #[error("the key's checksum is wrong: the file is damaged")]
    Checksum,
    #[error("the key is not usable")]
    Unusable,
    #[error("no randomness is available")]
    Randomness,
}

/// Eight bytes that name a key. Shown as 16 hexadecimal digits, as minisign does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 8]);

impl KeyId {
    pub fn is_development(self) -> bool {
        self.0.starts_with(&DEVELOPMENT_MARK)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016X}", u64::from_le_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A vendor's public key, as a server trusts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    pub id: KeyId,
    bytes: [u8; 32],
}

impl PublicKey {
    /// A minisign public-key file, or just its second line.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let raw = decode_line(text).ok_or(KeyError::Format("public key"))?;
        let (algorithm, rest) = raw
            .split_first_chunk::<2>()
            .ok_or(KeyError::Format("public key"))?;
        let (id, rest) = rest
            .split_first_chunk::<8>()
            .ok_or(KeyError::Format("public key"))?;
        let bytes = <[u8; 32]>::try_from(rest).map_err(|_| KeyError::Format("public key"))?;
        if *algorithm != ALGORITHM {
            return Err(KeyError::Format("public key"));
        }
        Ok(Self {
            id: KeyId(*id),
            bytes,
        })
    }

    pub fn to_text(&self) -> String {
        let raw = [&ALGORITHM[..], &self.id.0, &self.bytes].concat();
        format!(
            "untrusted comment: {} {}\n{}\n",
            describe(self.id, "public key"),
            self.id,
            STANDARD.encode(raw)
        )
    }

    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.bytes)
            .verify(message, signature)
            .is_ok()
    }
}

/// A vendor's secret key.
pub struct SecretKey {
    pub id: KeyId,
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl SecretKey {
    pub fn generate(development: bool) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let mut seed = [0_u8; 32];
        random.fill(&mut seed).map_err(|_| KeyError::Randomness)?;
        let mut id = [0_u8; 8];
        random.fill(&mut id).map_err(|_| KeyError::Randomness)?;
        let [first, second, third, ..] = &mut id;
        if development {
            [*first, *second, *third] = DEVELOPMENT_MARK;
        } else if [*first, *second, *third] == DEVELOPMENT_MARK {
            *first = 0;
        }
        Self::from_seed(KeyId(id), seed)
    }

    /// A minisign secret-key file made without a password.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let format = KeyError::Format("secret key");
        let raw = decode_line(text).ok_or(format)?;
        let mut rest = raw.as_slice();
        let mut take = |length: usize| {
            let (head, tail) = rest
                .split_at_checked(length)
                .ok_or(KeyError::Format("secret key"))?;
            rest = tail;
            Ok::<_, KeyError>(head)
        };
        let algorithm = take(2)?;
        let derivation = take(2)?;
        let checksum_algorithm = take(2)?;
        take(DERIVATION_BYTES)?;
        let (id, secret, checksum) = (take(8)?, take(64)?, take(32)?);
        if algorithm != ALGORITHM || checksum_algorithm != CHECKSUM_ALGORITHM || !rest.is_empty() {
            return Err(KeyError::Format("secret key"));
        }
        if derivation != [0, 0] {
            return Err(KeyError::Encrypted);
        }
        if checksum != self_check(id, secret) {
            return Err(KeyError::Checksum);
        }
        let id = <[u8; 8]>::try_from(id).map_err(|_| KeyError::Unusable)?;
        let (seed, public) = secret.split_first_chunk::<32>().ok_or(KeyError::Unusable)?;
        let key = Self::from_seed(KeyId(id), *seed)?;
        if key.pair.public_key().as_ref() != public {
            return Err(KeyError::Unusable);
        }
        Ok(key)
    }

    /// For a file only its owner can read.
    pub fn to_text(&self) -> String {
        let secret = [&self.seed[..], self.pair.public_key().as_ref()].concat();
        let checksum = self_check(&self.id.0, &secret);
        let raw = [
            &ALGORITHM[..],
            &[0, 0],
            &CHECKSUM_ALGORITHM,
            &[0; DERIVATION_BYTES],
            &self.id.0,
            &secret,
            &checksum,
        ]
        .concat();
        format!(
            "untrusted comment: {}\n{}\n",
            describe(self.id, "secret key"),
            STANDARD.encode(raw)
        )
    }

    pub fn public(&self) -> Result<PublicKey, KeyError> {
        let bytes = <[u8; 32]>::try_from(self.pair.public_key().as_ref())
            .map_err(|_| KeyError::Unusable)?;
        Ok(PublicKey { id: self.id, bytes })
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }

    fn from_seed(id: KeyId, seed: [u8; 32]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyError::Unusable)?;
        Ok(Self { id, seed, pair })
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SecretKey({})", self.id)
    }
}

/// The trusted key of that id, if it is one and may be used.
pub fn find(keys: &[PublicKey], id: KeyId) -> Option<&PublicKey> {
    keys.iter().find(|key| key.id == id)
}

fn describe(id: KeyId, kind: &str) -> String {
    if id.is_development() {
        format!("fleetwright DEVELOPMENT {kind}")
    } else {
        format!("minisign {kind}")
    }
}

/// The base64 of the first line that is not a comment.
fn decode_line(text: &str) -> Option<Vec<u8>> {
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with("untrusted comment:"))?;
    STANDARD.decode(line).ok()
}

fn self_check(id: &[u8], secret: &[u8]) -> [u8; 32] {
    let mut hash = Blake2b::<U32>::new();
    hash.update(ALGORITHM);
    hash.update(id);
    hash.update(secret);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_from_their_files() {
        for development in [false, true] {
            let key = SecretKey::generate(development).unwrap();
            assert_eq!(key.id.is_development(), development);
            let again = SecretKey::parse(&key.to_text()).unwrap();
            let public = PublicKey::parse(&key.public().unwrap().to_text()).unwrap();
            assert!(public.verify(b"text", &again.sign(b"text")));
            assert!(!public.verify(b"texT", &again.sign(b"text")));
            assert!(!format!("{key:?}").contains(&hex::encode(key.seed)));
        }
    }

    #[test]
    fn damaged_or_foreign_files_are_refused() {
        let text = SecretKey::generate(false).unwrap().to_text();
        let raw = decode_line(&text).unwrap();
        let with = |at: usize| {
            let mut raw = raw.clone();
            raw[at] ^= 1;
            SecretKey::parse(&STANDARD.encode(raw)).unwrap_err()
        };
        assert_eq!(with(0), KeyError::Format("secret key"));
        assert_eq!(with(2), KeyError::Encrypted);
        assert_eq!(with(70), KeyError::Checksum);
        assert_eq!(
            PublicKey::parse(&text).unwrap_err(),
            KeyError::Format("public key")
        );
        assert_eq!(
            PublicKey::parse("").unwrap_err(),
            KeyError::Format("public key")
        );
    }

    /// minisign's layout: algorithm, key id (little-endian when shown), key.
    #[test]
    fn the_public_key_line_is_laid_out_as_minisign_does() {
        let raw = [
            &b"Ed"[..],
            &[0xB6, 0xF1, 0x0A, 0x7A, 0x5C, 0x4A, 0x0E, 0x62],
            &[7; 32],
        ]
        .concat();
        let text = format!(
            "untrusted comment: minisign public key\n{}\n",
            STANDARD.encode(raw)
        );
        let key = PublicKey::parse(&text).unwrap();
        assert_eq!(key.id.to_string(), "620E4A5C7A0AF1B6");
        assert_eq!(key.bytes, [7; 32]);
    }
}
