//! Who this agent is: its key, its certificate, the authority it trusts and the server it belongs to, in private files.

use std::io;
use std::path::{Path, PathBuf};

use fleetwright_protocol::HostId;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde::{Deserialize, Serialize};

use crate::private_file;

const KEY: &str = "agent.key";
/// The key of a host that is to become another one, until a server has taken it.
const NEXT_KEY: &str = "agent.key.next";
const CERTIFICATE: &str = "agent.crt";
const AUTHORITY: &str = "ca.crt";
const RECORD: &str = "identity.json";

/// What enrollment brought, beside the key and the certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub host_id: HostId,
    pub server_url: String,
    /// Rises with each renewal; a renewal from an older one means that this machine was cloned.
    pub generation: i64,
}

#[derive(Clone, Debug)]
pub struct Identity {
    pub record: Record,
    pub key_pem: String,
    pub certificate_pem: String,
    pub authority_pem: String,
}

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("this agent is not enrolled: run `fleetwright-agent enroll` first")]
    NotEnrolled,
    #[error("cannot use {path}: {error}")]
    File { path: PathBuf, error: io::Error },
    #[error("{0} is damaged; enroll again with --force")]
    Damaged(PathBuf),
    #[error("cannot make a key: {0}")]
    Key(#[from] rcgen::Error),
}

impl Identity {
    pub fn load(data_dir: &Path) -> Result<Self, IdentityError> {
        let record_path = data_dir.join(RECORD);
        let text = read(&record_path)?.ok_or(IdentityError::NotEnrolled)?;
        let record =
            serde_json::from_str(&text).map_err(|_| IdentityError::Damaged(record_path))?;
        let needed = |name: &str| {
            let path = data_dir.join(name);
            read(&path)?.ok_or(IdentityError::Damaged(path))
        };
        Ok(Self {
            record,
            key_pem: needed(KEY)?,
            certificate_pem: needed(CERTIFICATE)?,
            authority_pem: needed(AUTHORITY)?,
        })
    }

    /// Writes all but the key, which is there since before the request. The record comes last: with it, all is there.
    pub fn save(&self, data_dir: &Path) -> Result<(), IdentityError> {
        write(&data_dir.join(AUTHORITY), self.authority_pem.as_bytes())?;
        write(&data_dir.join(CERTIFICATE), self.certificate_pem.as_bytes())?;
        let record = serde_json::to_vec_pretty(&self.record).unwrap_or_default();
        write(&data_dir.join(RECORD), &record)
    }
}

/// The key of this host as PEM, made if there is none. A host that enrolls again with its key is known again.
pub fn key(data_dir: &Path) -> Result<String, IdentityError> {
    key_in(data_dir.join(KEY))
}

/// A key beside the one in use, made if there is none: repeating an enrollment whose answer was lost makes no third host.
pub fn next_key(data_dir: &Path) -> Result<String, IdentityError> {
    key_in(data_dir.join(NEXT_KEY))
}

/// Makes the next key the key of this host. An identity that is kept along with it is to follow at once.
pub fn take_next_key(data_dir: &Path) -> Result<(), IdentityError> {
    let path = data_dir.join(NEXT_KEY);
    std::fs::rename(&path, data_dir.join(KEY)).map_err(|error| IdentityError::File { path, error })
}

fn key_in(path: PathBuf) -> Result<String, IdentityError> {
    if let Some(pem) = read(&path)? {
        return Ok(pem);
    }
    let pem = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?.serialize_pem();
    write(&path, pem.as_bytes())?;
    Ok(pem)
}

/// A signing request for the key. It asks for nothing: the server decides what the certificate says.
pub fn signing_request(key_pem: &str) -> Result<String, IdentityError> {
    let key = KeyPair::from_pem(key_pem)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(&key)?.pem()?)
}

/// Forgets who this agent is. The record goes first: without it nothing is used.
pub fn forget(data_dir: &Path) -> Result<(), IdentityError> {
    for name in [RECORD, CERTIFICATE, AUTHORITY, KEY, NEXT_KEY] {
        let path = data_dir.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(IdentityError::File { path, error });
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Option<String>, IdentityError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(IdentityError::File {
            path: path.to_owned(),
            error,
        }),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    private_file::write(path, bytes).map_err(|error| IdentityError::File {
        path: path.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_key_is_made_once_private_and_signs_a_request() {
        let folder = tempfile::tempdir().unwrap();
        let first = key(folder.path()).unwrap();
        assert_eq!(key(folder.path()).unwrap(), first);
        let mode = std::fs::metadata(folder.path().join(KEY))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(
            signing_request(&first)
                .unwrap()
                .contains("BEGIN CERTIFICATE REQUEST")
        );
    }

    #[test]
    fn an_identity_is_whole_or_absent() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            Identity::load(folder.path()),
            Err(IdentityError::NotEnrolled)
        ));
        let identity = Identity {
            record: Record {
                host_id: HostId(uuid::Uuid::nil()),
                server_url: "https://x:1".to_owned(),
                generation: 3,
            },
            key_pem: key(folder.path()).unwrap(),
            certificate_pem: "cert".to_owned(),
            authority_pem: "ca".to_owned(),
        };
        identity.save(folder.path()).unwrap();
        assert_eq!(
            Identity::load(folder.path()).unwrap().record,
            identity.record
        );
        std::fs::remove_file(folder.path().join(CERTIFICATE)).unwrap();
        assert!(matches!(
            Identity::load(folder.path()),
            Err(IdentityError::Damaged(_))
        ));
        forget(folder.path()).unwrap();
        assert!(matches!(
            Identity::load(folder.path()),
            Err(IdentityError::NotEnrolled)
        ));
        assert!(!folder.path().join(KEY).exists());
    }
}
