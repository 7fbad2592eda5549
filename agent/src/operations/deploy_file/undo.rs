//! What stood where a file is deployed, so that it can be put back exactly: content, mode, owner, group, extended
//! attributes and time of change; nothing, where nothing was. The copy is kept in the folder of the run.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::content::Content;
use super::extended::Extended;
use super::failure::{DeployError, io_error};
use super::place::{Attributes, Existing, Target};

/// Names the temporary files of a restoration; no other work is done at the same time.
const ID: &str = "rollback";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "was", rename_all = "snake_case")]
pub enum Undo {
    /// There was no file. These folders were not there either, outermost first.
    Nothing { path: String, folders: Vec<String> },
    File {
        path: String,
        /// All twelve bits.
        mode: u32,
        user: u32,
        group: u32,
        modified_seconds: i64,
        modified_nanoseconds: u32,
        /// Access control list, labels and the like; absent from what an agent saved that did not know them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        extended: Option<Extended>,
        /// The name of the copy in the folder of the run.
        copy: String,
    },
    Link {
        path: String,
        /// The bytes it points by.
        target: Vec<u8>,
        user: u32,
        group: u32,
    },
}

impl Undo {
    pub fn path(&self) -> &str {
        match self {
            Self::Nothing { path, .. } | Self::File { path, .. } | Self::Link { path, .. } => path,
        }
    }
}

/// Saves what stands at `path`, a copy of its content under the name `copy` in `folder`, on disk before this returns.
/// The error is a sentence for a person.
pub fn save(path: &str, folder: &Path, copy: &str) -> Result<Undo, String> {
    saved(path, folder, copy).map_err(|error| error.to_string())
}

/// Puts it back. Repeating it does no harm. The error is a sentence for a person.
pub fn restore(undo: &Undo, folder: &Path) -> Result<(), String> {
    let done = match undo {
        Undo::Nothing { path, folders } => remove(path, folders),
        Undo::File { .. } => put_back(undo, folder),
        Undo::Link {
            path,
            target,
            user,
            group,
        } => open(path, true).and_then(|place| match place {
            Some(place) => place.put_link(target, *user, *group, ID),
            None => Ok(()),
        }),
    };
    done.map_err(|error| error.to_string())
}

/// Removes what a deployment of `path` under this id may have left when it was cut off.
pub fn clear_temporary(path: &str, id: &str) {
    if let Ok(Some(place)) = open(path, false) {
        place.clear_temporary(id);
    }
}

fn saved(path: &str, folder: &Path, copy: &str) -> Result<Undo, DeployError> {
    let path = path.to_owned();
    let Some(place) = open(&path, false)? else {
        let folders = missing_folders(&path);
        return Ok(Undo::Nothing { path, folders });
    };
    match place.existing()? {
        Existing::None => {
            let folders = Vec::new();
            drop(place);
            Ok(Undo::Nothing { path, folders })
        }
        Existing::Link => {
            let (target, user, group) = place.link()?;
            drop(place);
            Ok(Undo::Link {
                path,
                target,
                user,
                group,
            })
        }
        Existing::File(_) => {
            let failed = |error| io_error(format!("cannot save {path} for a rollback"), error);
            let mut kept = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(folder.join(copy))
                .map_err(failed)?;
            let copied = place.copy_to(&mut kept)?;
            kept.sync_all().map_err(failed)?;
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(failed)?;
            drop(place);
            Ok(Undo::File {
                path,
                mode: copied.found.mode,
                user: copied.found.user,
                group: copied.found.group,
                modified_seconds: copied.modified_seconds,
                modified_nanoseconds: copied.modified_nanoseconds,
                extended: Some(copied.extended),
                copy: copy.to_owned(),
            })
        }
    }
}

fn put_back(undo: &Undo, folder: &Path) -> Result<(), DeployError> {
    let Undo::File {
        path,
        mode,
        user,
        group,
        modified_seconds,
        modified_nanoseconds,
        extended,
        copy,
    } = undo
    else {
        return Ok(());
    };
    let unreadable = |error| io_error(format!("cannot read the saved {path}"), error);
    let file = File::open(folder.join(copy)).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    let mut content = Content::File { file, bytes };
    let Some(place) = open(path, true)? else {
        return Ok(());
    };
    // Refuses what is no file by now: a folder is not replaced.
    place.existing()?;
    let attributes = Attributes {
        mode: *mode,
        user: Some(*user),
        group: Some(*group),
        extended: extended.clone(),
    };
    let temporary = place.write_temporary(&mut content, &attributes, ID, &mut || Ok(()))?;
    temporary.set_modified(*modified_seconds, *modified_nanoseconds)?;
    temporary.put_in_place()
}

fn remove(path: &str, folders: &[String]) -> Result<(), DeployError> {
    if let Some(place) = open(path, false)?
        && !matches!(place.existing()?, Existing::None)
    {
        place.remove()?;
    }
    for made in folders.iter().rev() {
        let Some(place) = open(made, false)? else {
            continue;
        };
        // One that others have put something into stays, and so do those around it.
        if !place.remove_empty_folder()? {
            break;
        }
    }
    Ok(())
}

/// The place, or `None` if its folder is not there.
fn open(path: &str, create_parents: bool) -> Result<Option<Target<'_>>, DeployError> {
    match Target::open(path, create_parents, false) {
        Ok(place) => Ok(place),
        Err(DeployError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The folders above `path` that are not there, outermost first.
fn missing_folders(path: &str) -> Vec<String> {
    let mut missing: Vec<String> = Path::new(path)
        .ancestors()
        .skip(1)
        .filter(|folder| folder.symlink_metadata().is_err())
        .filter_map(|folder| folder.to_str().map(str::to_owned))
        .collect();
    missing.reverse();
    missing
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::super::extended;
    use super::*;

    #[test]
    fn whatever_stood_there_is_put_back_exactly() {
        let host = tempfile::tempdir().unwrap();
        let run = tempfile::tempdir().unwrap();
        let path = host.path().join("motd");
        std::fs::write(&path, [0, 255, 10]).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4751)).unwrap();
        let before = std::fs::metadata(&path).unwrap();
        let text = path.to_str().unwrap();
        let undo = save(text, run.path(), "saved-0").unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "new").unwrap();
        for _ in 0..2 {
            restore(&undo, run.path()).unwrap();
            let after = std::fs::metadata(&path).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), [0, 255, 10]);
            assert_eq!(
                (after.mode(), after.uid(), after.gid(), after.mtime_nsec()),
                (
                    before.mode(),
                    before.uid(),
                    before.gid(),
                    before.mtime_nsec()
                )
            );
        }
        // A link, and a file where a link was.
        let link = host.path().join("link");
        symlink("elsewhere/\u{e9}", &link).unwrap();
        let text = link.to_str().unwrap();
        let undo = save(text, run.path(), "saved-1").unwrap();
        std::fs::remove_file(&link).unwrap();
        std::fs::write(&link, "new").unwrap();
        restore(&undo, run.path()).unwrap();
        assert_eq!(
            std::fs::read_link(&link).unwrap().to_str(),
            Some("elsewhere/\u{e9}")
        );
        assert_eq!(std::fs::read_dir(host.path()).unwrap().count(), 2);
    }

    #[test]
    fn extended_attributes_are_put_back_and_those_of_the_new_file_are_not_left() {
        let host = tempfile::tempdir().unwrap();
        let run = tempfile::tempdir().unwrap();
        let path = host.path().join("motd");
        let with_acl = super::super::tests::with_acl();
        let set = |extended: &Extended| {
            extended::write(File::open(&path).unwrap().as_fd(), extended).unwrap();
        };
        for (before, after) in [
            (with_acl.clone(), Extended::new()),
            (Extended::new(), with_acl),
        ] {
            std::fs::write(&path, "old").unwrap();
            if !super::super::tests::has_extended(&File::open(&path).unwrap()) {
                return;
            }
            rustix::fs::removexattr(&path, "user.note").unwrap();
            set(&before);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
            let undo = save(path.to_str().unwrap(), run.path(), "saved-0").unwrap();
            let undo = serde_json::from_str(&serde_json::to_string(&undo).unwrap()).unwrap();
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, "new").unwrap();
            set(&after);
            restore(&undo, run.path()).unwrap();
            let mut found = extended::read(File::open(&path).unwrap().as_fd()).unwrap();
            found.retain(|name, _| !name.starts_with("security."));
            assert_eq!(found, before);
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn where_nothing_was_nothing_is_left_but_what_others_put_there() {
        let host = tempfile::tempdir().unwrap();
        let run = tempfile::tempdir().unwrap();
        let inner = host.path().join("a/b");
        let path = inner.join("file");
        let undo = save(path.to_str().unwrap(), run.path(), "saved-0").unwrap();
        for others in [false, true] {
            std::fs::create_dir_all(&inner).unwrap();
            std::fs::write(&path, "new").unwrap();
            if others {
                std::fs::write(host.path().join("a/theirs"), "").unwrap();
            }
            restore(&undo, run.path()).unwrap();
            restore(&undo, run.path()).unwrap();
            assert!(!inner.exists());
            assert_eq!(host.path().join("a").exists(), others);
        }
    }

    #[test]
    fn a_folder_in_the_place_of_a_file_is_not_replaced() {
        let host = tempfile::tempdir().unwrap();
        let run = tempfile::tempdir().unwrap();
        let path = host.path().join("x");
        std::fs::write(&path, "old").unwrap();
        let undo = save(path.to_str().unwrap(), run.path(), "saved-0").unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(restore(&undo, run.path()).unwrap_err().contains("folder"));
        std::fs::remove_dir(&path).unwrap();
        std::fs::remove_file(run.path().join("saved-0")).unwrap();
        assert!(restore(&undo, run.path()).is_err());
    }
}
