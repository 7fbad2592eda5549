//! Secrets of this server that live in files of its data folder, readable by its owner only.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rand::RngCore as _;

/// Bytes of a random secret: 256 bits.
const SECRET_BYTES: usize = 32;

/// A fresh random secret.
pub fn random_secret() -> io::Result<Vec<u8>> {
    let mut secret = vec![0; SECRET_BYTES];
    rand::rng().fill_bytes(&mut secret);
    Ok(secret)
}

/// Reads `path`; if there is no such file, makes the content and writes it with mode 0600, durably. Refuses a
/// file that others may read.
pub fn read_or_create(
    path: &Path,
    make: impl FnOnce() -> io::Result<Vec<u8>>,
) -> io::Result<Vec<u8>> {
    match OpenOptions::new().read(true).open(path) {
        Ok(mut file) => {
            let mode = file.metadata()?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(io::Error::other(format!(
                    "{} may be read by others (mode {:03o}); make it 0600",
                    path.display(),
                    mode & 0o777
                )));
            }
            let mut content = Vec::new();
            file.read_to_end(&mut content)?;
            Ok(content)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let content = make()?;
            replace(path, &content)?;
            Ok(content)
        }
        Err(error) => Err(error),
    }
}

/// Writes `path` with mode 0600, durably: beside it and moved into place, so that a crash leaves the file before or the
/// whole one.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let _ = std::fs::remove_file(&beside);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    match path.parent() {
        Some(parent) => std::fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        let first = read_or_create(&path, random_secret).expect("made");
        let again = read_or_create(&path, || panic!("made twice")).expect("read");
        assert_eq!(first, again);
        let mode = std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("changed");
        assert!(read_or_create(&path, random_secret).is_err());
    }
}
