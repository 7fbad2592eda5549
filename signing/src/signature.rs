//! The detached signature of a module library: minisign's format, pre-hashed. The trusted comment binds what the
//! signer saw in the library (name, version, ABI, features, digest), so that a file cannot pass as another module.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blake2::{Blake2b512, Digest as _};
use semver::Version;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::keys::{self, KeyId, PublicKey, SecretKey};
use crate::library::{self, LibraryError};

/// The file beside a library: `groups.so` → `groups.so.sig`.
pub const SUFFIX: &str = ".sig";
/// A signature file is four short lines; anything longer is not one.
const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Pre-hashed with BLAKE2b-512. The other kind (`Ed`, over the file itself) is refused.
const ALGORITHM: [u8; 2] = *b"ED";
const COMMENT: &str = "untrusted comment: ";
const TRUSTED: &str = "trusted comment: ";

/// What the signer vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleStatement {
    pub name: String,
    pub version: Version,
    pub abi: u32,
    pub features: Vec<String>,
    /// Of the whole file, in hexadecimal.
    pub sha256: String,
}

#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    #[error("its signature file is not readable")]
    Format,
    #[error("it is signed with the key {0}, which this server does not trust")]
    UnknownKey(KeyId),
    #[error("it is signed with the development key {0}, and allow_development_keys is off")]
    DevelopmentKey(KeyId),
    #[error("its signature does not match the file: it was changed, or belongs to another file")]
    Mismatch,
    #[error("the signature is for {signed}, the file says it is {found}")]
    OtherModule { signed: String, found: String },
    #[error(transparent)]
    Library(#[from] LibraryError),
}

/// Signs a library as what its own info section says it is. Returns the text for the `.sig` file.
pub fn sign_module(key: &SecretKey, library: &[u8]) -> Result<String, SignatureError> {
    let statement = statement_of(library)?;
    let comment = serde_json::to_string(&statement).map_err(|_| SignatureError::Format)?;
    let signature = key.sign(&Blake2b512::digest(library));
    let global = key.sign(&[signature.as_slice(), comment.as_bytes()].concat());
    let line = STANDARD.encode([&ALGORITHM[..], &key.id.0, &signature].concat());
    let untrusted = format!(
        "{} {}, signed with {}",
        statement.name, statement.version, key.id
    );
    Ok(format!(
        "{COMMENT}{untrusted}\n{line}\n{TRUSTED}{comment}\n{}\n",
        STANDARD.encode(global)
    ))
}

/// Checks the signature with the trusted keys, and that it is for what the library says it is.
pub fn verify_module(
    trusted: &[PublicKey],
    allow_development: bool,
    library: &[u8],
    signature: &str,
) -> Result<(ModuleStatement, KeyId), SignatureError> {
    let parts = Parts::parse(signature).ok_or(SignatureError::Format)?;
    let key = keys::find(trusted, parts.id).ok_or(SignatureError::UnknownKey(parts.id))?;
    if parts.id.is_development() && !allow_development {
        return Err(SignatureError::DevelopmentKey(parts.id));
    }
    let digest = Blake2b512::digest(library);
    let signed_comment = [parts.signature.as_slice(), parts.comment.as_bytes()].concat();
    if !key.verify(&digest, &parts.signature) || !key.verify(&signed_comment, &parts.global) {
        return Err(SignatureError::Mismatch);
    }
    let signed: ModuleStatement =
        serde_json::from_str(parts.comment).map_err(|_| SignatureError::Format)?;
    let found = statement_of(library)?;
    if signed != found {
        let short = |statement: &ModuleStatement| {
            format!(
                "{} {} (ABI {})",
                statement.name, statement.version, statement.abi
            )
        };
        return Err(SignatureError::OtherModule {
            signed: short(&signed),
            found: short(&found),
        });
    }
    Ok((signed, parts.id))
}

fn statement_of(library: &[u8]) -> Result<ModuleStatement, LibraryError> {
    #[derive(Deserialize)]
    struct Declared {
        name: String,
        version: Version,
        abi: u32,
        features: Vec<String>,
    }
    let info = library::read_info(library)?;
    let declared: Declared =
        serde_json::from_slice(info).map_err(|error| LibraryError::Info(error.to_string()))?;
    Ok(ModuleStatement {
        name: declared.name,
        version: declared.version,
        abi: declared.abi,
        features: declared.features,
        sha256: hex::encode(Sha256::digest(library)),
    })
}

struct Parts<'a> {
    id: KeyId,
    signature: Vec<u8>,
    comment: &'a str,
    global: Vec<u8>,
}

impl<'a> Parts<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let mut lines = text.lines();
        lines.next()?.strip_prefix(COMMENT)?;
        let raw = STANDARD.decode(lines.next()?).ok()?;
        let comment = lines.next()?.strip_prefix(TRUSTED)?;
        let global = STANDARD.decode(lines.next()?).ok()?;
        let (algorithm, rest) = raw.split_first_chunk::<2>()?;
        let (id, signature) = rest.split_first_chunk::<8>()?;
        (*algorithm == ALGORITHM && lines.all(str::is_empty)).then(|| Self {
            id: KeyId(*id),
            signature: signature.to_vec(),
            comment,
            global,
        })
    }
}

#[cfg(test)]
mod tests {
    use object::elf::{ELFMAG, EM_AARCH64, EM_X86_64, ET_DYN, SHT_PROGBITS, SHT_STRTAB};

    use super::*;

    /// An ELF file with an info section: enough for signing, nothing that could be loaded. By hand, because a library that
    /// writes such files would be built into everything else that is tested, too.
    fn library(name: &str) -> Vec<u8> {
        let info =
            format!(r#"{{"name":"{name}","version":"1.0.0","abi":1,"features":["fleet_groups"]}}"#);
        let names = b"\0.fleet_modinfo\0.shstrtab\0";
        let (header, section) = (64, 64);
        let names_at = header + info.len() as u64;
        // Their reader asks for places that are multiples of eight.
        let sections_at = (names_at + names.len() as u64).next_multiple_of(8);
        let machine = if cfg!(target_arch = "x86_64") {
            EM_X86_64
        } else {
            EM_AARCH64
        };
        let mut bytes = ELFMAG.to_vec();
        // 64 bits, little endian, version 1.
        bytes.extend([2, 1, 1]);
        bytes.resize(16, 0);
        bytes.extend(ET_DYN.to_le_bytes());
        bytes.extend(machine.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        // No entry and no program headers.
        for place in [0, 0, sections_at] {
            bytes.extend(place.to_le_bytes());
        }
        bytes.extend(0_u32.to_le_bytes());
        // Sizes and counts of headers: of the file, of programs, of sections; and which section has the names.
        for figure in [header as u16, 0, 0, section, 3, 2] {
            bytes.extend(figure.to_le_bytes());
        }
        bytes.extend(info.as_bytes());
        bytes.extend(names);
        bytes.resize(sections_at as usize, 0);
        let mut section = |name: u32, kind: u32, at: u64, size: u64| {
            bytes.extend(name.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            // Flags, address, place, size.
            for figure in [0, 0, at, size] {
                bytes.extend(figure.to_le_bytes());
            }
            // Link and info, then alignment and the size of entries.
            bytes.extend(0_u64.to_le_bytes());
            bytes.extend(1_u64.to_le_bytes());
            bytes.extend(0_u64.to_le_bytes());
        };
        section(0, 0, 0, 0);
        section(1, SHT_PROGBITS, header, info.len() as u64);
        section(16, SHT_STRTAB, names_at, names.len() as u64);
        bytes
    }

    #[test]
    fn a_signed_library_is_verified() {
        let key = SecretKey::generate(false).unwrap();
        let (library, trusted) = (library("groups"), [key.public().unwrap()]);
        let text = sign_module(&key, &library).unwrap();
        let (statement, id) = verify_module(&trusted, false, &library, &text).unwrap();
        assert_eq!((statement.name.as_str(), id), ("groups", key.id));
        assert_eq!(statement.sha256, hex::encode(Sha256::digest(&library)));
    }

    #[test]
    fn any_change_is_refused() {
        let key = SecretKey::generate(false).unwrap();
        let (library, trusted) = (library("groups"), [key.public().unwrap()]);
        let text = sign_module(&key, &library).unwrap();
        let refused =
            |library: &[u8], text: &str| verify_module(&trusted, false, library, text).unwrap_err();

        let mut flipped = library.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(matches!(refused(&flipped, &text), SignatureError::Mismatch));
        let other_comment = text.replace("\"1.0.0\"", "\"1.0.1\"");
        assert!(matches!(
            refused(&library, &other_comment),
            SignatureError::Mismatch
        ));
        assert!(matches!(
            refused(&library, "garbage"),
            SignatureError::Format
        ));
        let stranger = SecretKey::generate(false).unwrap();
        let foreign = sign_module(&stranger, &library).unwrap();
        assert!(matches!(
            refused(&library, &foreign),
            SignatureError::UnknownKey(_)
        ));
        let development = SecretKey::generate(true).unwrap();
        let signed = sign_module(&development, &library).unwrap();
        let trusted = [development.public().unwrap()];
        let error = verify_module(&trusted, false, &library, &signed).unwrap_err();
        assert!(matches!(error, SignatureError::DevelopmentKey(_)));
    }

    #[test]
    fn a_signature_that_names_another_module_is_refused() {
        let key = SecretKey::generate(false).unwrap();
        let library = library("groups");
        let mut statement = statement_of(&library).unwrap();
        statement.name = "bulk".to_owned();
        let comment = serde_json::to_string(&statement).unwrap();
        let signature = key.sign(&Blake2b512::digest(&library));
        let global = key.sign(&[signature.as_slice(), comment.as_bytes()].concat());
        let line = STANDARD.encode([&ALGORITHM[..], &key.id.0, &signature].concat());
        let text = format!(
            "{COMMENT}x\n{line}\n{TRUSTED}{comment}\n{}\n",
            STANDARD.encode(global)
        );
        let error = verify_module(&[key.public().unwrap()], false, &library, &text).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the signature is for bulk 1.0.0 (ABI 1), the file says it is groups 1.0.0 (ABI 1)"
        );
    }

    #[test]
    fn files_that_are_no_modules_say_so() {
        let library = library("groups");
        let error = |bytes: &[u8]| library::read_info(bytes).unwrap_err();
        assert_eq!(error(b"#!/bin/sh"), LibraryError::NotElf);
        assert_eq!(error(b""), LibraryError::NotElf);
        for end in [20, 64, library.len() / 2, library.len() - 8] {
            assert!(
                matches!(error(&library[..end]), LibraryError::Damaged(_)),
                "{end}"
            );
        }
        let mut foreign = library.clone();
        foreign[18..20].copy_from_slice(&243_u16.to_le_bytes());
        assert!(
            matches!(error(&foreign), LibraryError::Architecture { found, .. } if found == "riscv64")
        );
        let mut small = library.clone();
        small[4] = 1;
        assert!(matches!(error(&small), LibraryError::Architecture { .. }));
    }
}
