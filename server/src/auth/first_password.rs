//! The generated password of the first administrator, in a file until it was used: what a server prints is kept in
//! journals and shipped to others, a file of the data folder is not.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::secret_file;

/// The first administrator's name.
pub const ADMIN_NAME: &str = "admin";
/// In the data folder.
const FILE: &str = "first-admin-password";

/// Where the password is, while it is.
pub struct FirstPassword {
    path: PathBuf,
    there: AtomicBool,
}

impl FirstPassword {
    /// That of an earlier start, if it was not used yet. Blocking; for start-up.
    pub(super) fn of_folder(data_dir: &Path) -> Self {
        let path = data_dir.join(FILE);
        Self {
            there: AtomicBool::new(path.exists()),
            path,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Readable by the server's own account only, and durable before it returns: the password is known nowhere else.
    pub(super) fn keep(&self, password: &str) -> io::Result<()> {
        secret_file::replace(&self.path, format!("{password}\n").as_bytes())?;
        self.there.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The user of that name has signed in, has another password, or is gone.
    pub(super) fn used_by(&self, name: &str) {
        if name == ADMIN_NAME {
            self.forget();
        }
    }

    pub(super) fn forget(&self) {
        if !self.there.swap(false, Ordering::Relaxed) {
            return;
        }
        match std::fs::remove_file(&self.path) {
            Ok(()) => {
                tracing::info!(file = %self.path.display(), "the first password was used; its file is gone")
            }
            // Somebody has removed it by hand.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, file = %self.path.display(), "remove this file with the first password");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn it_is_its_owners_alone_and_gone_once_used_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let first = FirstPassword::of_folder(folder.path());
        first.keep("one").unwrap();
        first.keep("two").unwrap();
        assert_eq!(std::fs::read_to_string(first.path()).unwrap(), "two\n");
        let mode = std::fs::metadata(first.path()).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        let restarted = FirstPassword::of_folder(folder.path());
        restarted.used_by("somebody");
        assert!(first.path().exists());
        restarted.used_by(ADMIN_NAME);
        assert!(!first.path().exists());
        // Once more, and where somebody was faster.
        restarted.forget();
        first.forget();
    }
}
