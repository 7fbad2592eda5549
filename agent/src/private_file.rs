//! Files only the agent's own account may read, replaced atomically: a reader sees the old bytes or the new ones.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Whoever runs something in a folder below must be able to enter; nobody else can read or write.
const OWN_FOLDER_MODE: u32 = 0o711;

/// Writes `path` with mode 0600, on disk before it returns.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path
        .parent()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no parent folder"))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = directory.join(name);
    let written = write_new(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // The error says more than a failure to clean up could.
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    File::open(directory)?.sync_all()
}

/// Makes a folder (and its parents) with the given mode; one that exists is left as it is.
pub fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
}

/// Makes the agent's own folder, or takes back what others may do with one that was there: enter it, to reach what a run
/// of theirs is given, and nothing else. Refuses a folder of another account, which could open it again.
pub fn make_own_folder(path: &Path) -> io::Result<()> {
    make_folder(path, OWN_FOLDER_MODE)?;
    let found = std::fs::metadata(path)?;
    let us = rustix::process::geteuid().as_raw();
    if found.uid() != us {
        let owner = found.uid();
        let text =
            format!("belongs to the account {owner} and this agent runs as {us}: change its owner");
        return Err(io::Error::other(text));
    }
    let mode = found.mode() & 0o777;
    if mode & !OWN_FOLDER_MODE == 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode & OWN_FOLDER_MODE))?;
    tracing::warn!(
        folder = %path.display(),
        mode = format!("{mode:03o}"),
        "others could look into the agent's folder; it is closed now"
    );
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_is_private_and_replaces_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_others_may_read_or_write_is_closed() {
        let place = tempfile::tempdir().unwrap();
        let cases = [
            (0o755, 0o711),
            (0o777, 0o711),
            (0o750, 0o710),
            (0o700, 0o700),
        ];
        for (before, after) in cases {
            let path = place.path().join(format!("{before:o}"));
            make_folder(&path, 0o700).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(before)).unwrap();
            make_own_folder(&path).unwrap();
            let mode = std::fs::metadata(&path).unwrap().mode() & 0o777;
            assert_eq!(mode, after, "{before:o}");
        }
        let new = place.path().join("a/b");
        make_own_folder(&new).unwrap();
        assert_eq!(std::fs::metadata(&new).unwrap().mode() & 0o077, 0o011);
    }
}
