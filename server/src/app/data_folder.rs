//! The data folder: keys, the database, uploaded content, outputs. Only the server's own account may look inside, also
//! where the folder was there before and was open to all.

use std::fs::{DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What anybody else may do with a file or a folder.
const OTHERS: u32 = 0o077;
/// What the owner may do with a file, and with a folder.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// Folders below the data folder that are looked into: the server makes one level, and keeps nothing deeper.
const DEPTH_MAX: usize = 4;
/// Keys that others may read are not closed but refused where they are read: they may have been taken.
const KEY_ENDING: &str = "key";
/// Beside a SQLite database, what belongs to it.
const SQLITE_ENDINGS: [&str; 3] = ["", "-wal", "-shm"];

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the data folder {path}: {source}")]
pub struct DataFolderError {
    path: String,
    source: io::Error,
}

/// What this process makes from now on is its own account's alone.
pub fn keep_new_files_private() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(OTHERS));
}

/// Makes the folder if it is missing, and closes it and what is in it if others could look inside. Refuses a folder of
/// another account: whoever owns it can open it again.
pub fn make_private(data_dir: &Path, database_url: &str) -> Result<(), DataFolderError> {
    let failed = |path: &Path, source| DataFolderError {
        path: path.display().to_string(),
        source,
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(FOLDER_MODE);
    builder
        .create(data_dir)
        .and_then(|()| close_folder(data_dir))
        .map_err(|error| failed(data_dir, error))?;
    for path in sqlite_files(database_url) {
        match std::fs::symlink_metadata(&path) {
            Ok(found) => close(&path, &found).map_err(|error| failed(&path, error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&path, error)),
        }
    }
    Ok(())
}

fn close_folder(data_dir: &Path) -> io::Result<()> {
    let found = std::fs::metadata(data_dir)?;
    let us = rustix::process::geteuid().as_raw();
    if found.uid() != us {
        return Err(io::Error::other(format!(
            "belongs to the account {} and this server runs as {us}: run it as that account, or change the folder's owner",
            found.uid()
        )));
    }
    let mode = found.mode() & 0o777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    // First the door, then what is behind it.
    set_mode(data_dir, FOLDER_MODE)?;
    close_all_in(data_dir, DEPTH_MAX)?;
    tracing::warn!(
        folder = %data_dir.display(),
        mode = format!("{mode:03o}"),
        "others could look into the data folder; it is closed now: if anybody else uses this machine, change the passwords"
    );
    Ok(())
}

/// Links are not followed: what they point to is not the server's.
fn close_all_in(folder: &Path, depth: usize) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let found = std::fs::symlink_metadata(&path)?;
        close(&path, &found)?;
        if found.is_dir() && depth > 0 {
            close_all_in(&path, depth - 1)?;
        }
    }
    Ok(())
}

fn close(path: &Path, found: &Metadata) -> io::Result<()> {
    let is_key = path.extension().is_some_and(|end| end == KEY_ENDING);
    let wanted = match (found.is_dir(), found.is_file()) {
        (true, _) => FOLDER_MODE,
        (_, true) if !is_key => FILE_MODE,
        _ => return Ok(()),
    };
    if found.mode() & OTHERS == 0 {
        return Ok(());
    }
    set_mode(path, wanted)
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    let closed = std::fs::set_permissions(path, Permissions::from_mode(mode));
    closed.map_err(|error| {
        let text = format!(
            "{} is open to others and cannot be closed: {error}",
            path.display()
        );
        io::Error::new(error.kind(), text)
    })
}

/// The files of a SQLite database; none of another.
fn sqlite_files(database_url: &str) -> Vec<PathBuf> {
    let Some(path) = database_url.strip_prefix("sqlite://") else {
        return Vec::new();
    };
    let file = |ending: &&str| PathBuf::from(format!("{path}{ending}"));
    SQLITE_ENDINGS.iter().map(file).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().mode() & 0o777
    }

    fn with_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_was_open_is_closed_and_what_is_not_the_servers_is_left() {
        let place = tempfile::tempdir().unwrap();
        let (data, outside) = (place.path().join("data"), place.path().join("outside"));
        std::fs::create_dir_all(data.join("blobs")).unwrap();
        let database = data.join("fleetwright.db");
        let blob = data.join("blobs/content");
        for file in [&database, &blob, &outside, &data.join("session.key")] {
            std::fs::write(file, "x").unwrap();
            with_mode(file, 0o644);
        }
        symlink(&outside, data.join("link")).unwrap();
        with_mode(&data.join("blobs"), 0o755);
        with_mode(&data, 0o755);
        make_private(&data, "postgres://elsewhere/x").unwrap();
        for folder in [&data, &data.join("blobs")] {
            assert_eq!(mode(folder), 0o700, "{}", folder.display());
        }
        for file in [&database, &blob] {
            assert_eq!(mode(file), 0o600, "{}", file.display());
        }
        assert_eq!(mode(&outside), 0o644, "a link is not followed");
        let key = mode(&data.join("session.key"));
        assert_eq!(key, 0o644, "who reads it refuses it");
    }

    #[test]
    fn a_database_is_closed_wherever_it_is() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        for name in ["fleet.db", "fleet.db-wal", "fleet.db-shm", "fleet.db.other"] {
            std::fs::write(path(name), "x").unwrap();
            with_mode(&path(name), 0o644);
        }
        let url = format!("sqlite://{}", path("fleet.db").display());
        make_private(&path("data"), &url).unwrap();
        assert_eq!(mode(&path("data")), 0o700);
        for name in ["fleet.db", "fleet.db-wal", "fleet.db-shm"] {
            assert_eq!(mode(&path(name)), 0o600, "{name}");
        }
        assert_eq!(mode(&path("fleet.db.other")), 0o644);
    }

    #[test]
    fn a_folder_of_another_account_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let root_s = Path::new("/usr");
        let (folder, owner) = match rustix::process::geteuid().is_root() {
            true => {
                std::os::unix::fs::chown(place.path(), Some(65_534), None).unwrap();
                (place.path(), "65534")
            }
            false => (root_s, "0"),
        };
        let before = mode(folder);
        let refused = make_private(folder, "postgres://elsewhere/x");
        let text = refused.unwrap_err().to_string();
        let said = format!("belongs to the account {owner}");
        assert!(text.contains(&said), "{text}");
        assert_eq!(mode(folder), before);
    }
}
