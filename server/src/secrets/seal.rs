//! Sealing: AES-256-GCM-SIV with a random nonce in front. Name, version and installation are authenticated with it, so that a
//! row that was moved to another place does not open there.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use rand::RngCore as _;

pub const KEY_BYTES: usize = 32;

/// Of a key's digest, enough to tell keys apart.
const ID_BYTES: usize = 8;

/// A key, with the name it is known by in rows and messages.
pub struct SealKey {
    key: LessSafeKey,
    id: String,
}

/// Where a sealed value belongs.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub installation: &'a str,
    pub name: &'a str,
    pub version: u32,
}

/// It was not sealed with this key for this place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value cannot be opened with this key")]
pub struct NotSealedHere;

impl SealKey {
    pub fn new(bytes: &[u8; KEY_BYTES]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM_SIV, bytes).ok()?;
        let mut named = b"fleetwright secrets key\0".to_vec();
        named.extend_from_slice(bytes);
        let digest = digest(&SHA256, &named);
        let id = digest.as_ref().get(..ID_BYTES).unwrap_or_default();
        Some(Self {
            key: LessSafeKey::new(key),
            id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The nonce, the sealed value and its tag.
    pub fn seal(&self, place: Place<'_>, value: &[u8]) -> Result<Vec<u8>, NotSealedHere> {
        let mut nonce = [0; NONCE_LEN];
        rand::rng().fill_bytes(&mut nonce);
        let mut sealed = value.to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        let aad = Aad::from(place.bytes());
        let done = self.key.seal_in_place_append_tag(unique, aad, &mut sealed);
        done.map_err(|_| NotSealedHere)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, NotSealedHere> {
        let (nonce, sealed) = sealed
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(NotSealedHere)?;
        let mut value = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let aad = Aad::from(place.bytes());
        let bytes = self.key.open_in_place(nonce, aad, &mut value);
        let bytes = bytes.map_err(|_| NotSealedHere)?.len();
        value.truncate(bytes);
        Ok(value)
    }
}

impl Place<'_> {
    /// No part holds a NUL, so that no two places are the same bytes.
    fn bytes(&self) -> Vec<u8> {
        let Self {
            installation,
            name,
            version,
        } = self;
        format!("fleetwright secret\0{installation}\0{name}\0{version}").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_only_with_its_key_in_its_place() {
        let key = SealKey::new(&[1; KEY_BYTES]).expect("a key");
        let other = SealKey::new(&[2; KEY_BYTES]).expect("a key");
        assert_ne!(key.id(), other.id());
        let place = Place {
            installation: "i",
            name: "db/password",
            version: 3,
        };
        let sealed = key.seal(place, b"hunter2-hunter2").expect("sealed");
        assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
        assert_ne!(sealed, key.seal(place, b"hunter2-hunter2").expect("sealed"));
        let open = |key: &SealKey, place| key.open(place, &sealed);
        assert_eq!(
            open(&key, place).as_deref(),
            Ok(b"hunter2-hunter2".as_slice())
        );
        assert_eq!(open(&other, place), Err(NotSealedHere));
        let wrong = [
            Place {
                installation: "j",
                ..place
            },
            Place {
                name: "db/passwor",
                ..place
            },
            Place {
                version: 2,
                ..place
            },
        ];
        for place in wrong {
            assert_eq!(open(&key, place), Err(NotSealedHere), "{place:?}");
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open(place, &changed).is_err(), "byte {at}");
            assert!(key.open(place, &sealed[..at]).is_err(), "cut at {at}");
        }
    }
}
