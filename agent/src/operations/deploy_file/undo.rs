//! What a deployment is about to change, so that it can be put back exactly: content, mode, owner, group, extended attributes
//! and time of change; nothing, where nothing was. Only what really is about to be changed is kept, in the folder of the run,
//! where others cannot read it. It is put back by the account that changed it, and only while it is what was put there: what
//! others have made of it since is theirs.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::content::Content;
use super::credentials;
use super::extended::{self, Extended};
use super::failure::{DeployError, io_error, refused};
use super::place::{Attributes, Described, Existing, Opened, Target, Temporary, each_piece};
use crate::guard::Guard;
use crate::supervisor::spec::AccountIds;

/// Names the temporary files of a restoration; no other work is done at the same time.
const ID: &str = "rollback";
/// Read at a time.
const PIECE_BYTES: usize = 128 * 1024;

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

/// By whom, and into what, a deployment changes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// `None`: the agent's own.
    pub account: Option<AccountIds>,
    /// `None` as long as only folders are made.
    pub written: Option<Written>,
}

/// The file that is put in place, by which it is known again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    pub sha256: String,
    pub mode: u32,
    pub user: u32,
    pub group: u32,
    pub extended: Extended,
    pub inode: Option<u64>,
}

/// Keeps what a deployment is about to change.
pub struct Keeper<'a> {
    account: Option<AccountIds>,
    /// Opened by the agent, whose folder it is in.
    copy: File,
    copy_path: PathBuf,
    is_used: bool,
    note: &'a mut (dyn FnMut(Undo, Change) -> Result<(), String> + Send),
}

impl Undo {
    pub fn path(&self) -> &str {
        match self {
            Self::Nothing { path, .. } | Self::File { path, .. } | Self::Link { path, .. } => path,
        }
    }
}

impl<'a> Keeper<'a> {
    /// Copies go under this name into the folder of the run; `note` is to have them on disk when it returns.
    pub fn new(
        folder: &Path,
        copy: &str,
        note: &'a mut (dyn FnMut(Undo, Change) -> Result<(), String> + Send),
    ) -> io::Result<Self> {
        let copy_path = folder.join(copy);
        let copy = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&copy_path)?;
        Ok(Self {
            account: None,
            copy,
            copy_path,
            is_used: false,
            note,
        })
    }

    /// The account that changes it.
    pub fn acts_as(&mut self, account: &AccountIds) {
        self.account = Some(account.clone());
    }

    /// These folders are about to be made, outermost first.
    pub fn folders(&mut self, path: &str, folders: &[String]) -> Result<(), DeployError> {
        let undo = Undo::Nothing {
            path: path.to_owned(),
            folders: folders.to_vec(),
        };
        self.note(undo, None)
    }

    /// The temporary file is about to take the place of what is there.
    pub fn keep(
        &mut self,
        place: &Target<'_>,
        existing: &Existing,
        temporary: &Temporary<'_>,
        content: &mut Content,
    ) -> Result<(), DeployError> {
        let path = place.path().to_owned();
        let undo = match existing {
            Existing::None => Undo::Nothing {
                path,
                folders: Vec::new(),
            },
            Existing::Link => {
                let (target, user, group) = place.link()?;
                Undo::Link {
                    path,
                    target,
                    user,
                    group,
                }
            }
            Existing::File(_) => self.copied(place)?,
        };
        let mut digest = Sha256::new();
        let read = each_piece(content, |piece| {
            digest.update(piece);
            Ok(())
        });
        read.map_err(|error| io_error("cannot read what is deployed".to_owned(), error))?;
        let Described {
            found,
            extended,
            inode,
            ..
        } = temporary.described()?;
        let written = Written {
            sha256: hex::encode(digest.finalize()),
            mode: found.mode,
            user: found.user,
            group: found.group,
            extended: comparable(extended),
            inode,
        };
        self.note(undo, Some(written))
    }

    fn copied(&mut self, place: &Target<'_>) -> Result<Undo, DeployError> {
        let path = place.path().to_owned();
        let (mut there, described) = place.read()?;
        self.is_used = true;
        let copied = io::copy(&mut there, &mut self.copy).and_then(|_| self.copy.sync_all());
        copied.map_err(|error| io_error(format!("cannot save {path} for a rollback"), error))?;
        let name = self.copy_path.file_name().unwrap_or_default();
        Ok(Undo::File {
            path,
            mode: described.found.mode,
            user: described.found.user,
            group: described.found.group,
            modified_seconds: described.modified_seconds,
            modified_nanoseconds: described.modified_nanoseconds,
            extended: Some(described.extended),
            copy: name.to_string_lossy().into_owned(),
        })
    }

    fn note(&mut self, undo: Undo, written: Option<Written>) -> Result<(), DeployError> {
        let account = self.account.clone();
        (self.note)(undo, Change { account, written }).map_err(|why| refused(&why))
    }
}

impl Drop for Keeper<'_> {
    fn drop(&mut self) {
        if !self.is_used {
            // An empty file in the folder of the run, which goes with it at the latest.
            let _ = std::fs::remove_file(&self.copy_path);
        }
    }
}

/// Puts it back. Repeating it does no harm. `knows_inode`: nothing else has been put back in its place since, so that the
/// file must be the very one. The error is a sentence for a person; nothing was changed then.
pub fn restore(
    undo: &Undo,
    change: Option<&Change>,
    folder: &Path,
    guard: &Guard,
    knows_inode: bool,
) -> Result<(), String> {
    let Some(change) = change else {
        let path = undo.path();
        return Err(format!(
            "{path} was deployed by an older agent, which did not note what it wrote; it is left as it is"
        ));
    };
    // The folder of the run is the agent's own, whoever acts.
    let copy = match undo {
        Undo::File { path, copy, .. } => match File::open(folder.join(copy)) {
            Ok(file) => Some(file),
            Err(error) => return Err(format!("cannot read the saved {path}: {error}")),
        },
        Undo::Nothing { .. } | Undo::Link { .. } => None,
    };
    let written = change.written.as_ref();
    let work = || put_back(undo, written, copy, guard, knows_inode);
    let done = match &change.account {
        None => work(),
        Some(account) => credentials::acting_as(account, work).unwrap_or_else(|error| {
            Err(io_error(
                "cannot act as the account that deployed it".to_owned(),
                error,
            ))
        }),
    };
    done.map_err(|error| error.to_string())
}

/// Removes what a deployment of `path` under this id may have left when it was cut off.
pub fn clear_temporary(path: &str, id: &str, guard: &Guard) {
    if let Ok(Opened::Folder(place)) = Target::open(path, guard) {
        place.clear_temporary(id);
    }
}

fn put_back(
    undo: &Undo,
    written: Option<&Written>,
    mut copy: Option<File>,
    guard: &Guard,
    knows_inode: bool,
) -> Result<(), DeployError> {
    let path = undo.path();
    if let Some(written) = written {
        let place = match Target::open(path, guard)? {
            Opened::Folder(place) => Some(place),
            Opened::Missing(_) => None,
        };
        let is_before = match &place {
            Some(place) => is_as_before(place, undo, copy.as_mut())?,
            None => matches!(undo, Undo::Nothing { .. }),
        };
        if !is_before {
            match place {
                Some(place) if is_as_written(&place, written, knows_inode)? => {
                    exchange(&place, undo, copy)?
                }
                Some(_) | None => {
                    let why =
                        format!("{path} is not what was deployed any more; it is left as it is");
                    return Err(refused(&why));
                }
            }
        }
    }
    match undo {
        Undo::Nothing { folders, .. } => remove_folders(folders, guard),
        Undo::File { .. } | Undo::Link { .. } => Ok(()),
    }
}

/// Whether it was put back before, or never changed.
fn is_as_before(
    place: &Target<'_>,
    undo: &Undo,
    copy: Option<&mut File>,
) -> Result<bool, DeployError> {
    Ok(match (undo, place.existing()?) {
        (Undo::Nothing { .. }, Existing::None) => true,
        (Undo::Link { target, .. }, Existing::Link) => place.link()?.0 == *target,
        (
            Undo::File {
                mode, user, group, ..
            },
            Existing::File(found),
        ) => {
            let same = (found.mode, found.user, found.group) == (*mode, *user, *group);
            let Some(copy) = copy.filter(|_| same) else {
                return Ok(false);
            };
            let unreadable =
                |error| io_error(format!("cannot read the saved {}", place.path()), error);
            let bytes = copy.metadata().map_err(unreadable)?.len();
            let file = copy.try_clone().map_err(unreadable)?;
            place.holds(&found, &mut Content::File { file, bytes })?
        }
        (
            Undo::Nothing { .. } | Undo::Link { .. } | Undo::File { .. },
            Existing::None | Existing::Link | Existing::File(_),
        ) => false,
    })
}

fn is_as_written(
    place: &Target<'_>,
    written: &Written,
    knows_inode: bool,
) -> Result<bool, DeployError> {
    let Existing::File(_) = place.existing()? else {
        return Ok(false);
    };
    let (mut there, described) = place.read()?;
    let found = described.found;
    let same_inode = !knows_inode || written.inode.is_none() || written.inode == described.inode;
    let same_facts = (found.mode, found.user, found.group)
        == (written.mode, written.user, written.group)
        && comparable(described.extended) == written.extended;
    if !same_inode || !same_facts {
        return Ok(false);
    }
    let digest = digest_of(&mut there)
        .map_err(|error| io_error(format!("cannot read {}", place.path()), error))?;
    Ok(digest == written.sha256)
}

fn exchange(place: &Target<'_>, undo: &Undo, copy: Option<File>) -> Result<(), DeployError> {
    match undo {
        Undo::Nothing { .. } => place.remove(),
        Undo::Link {
            target,
            user,
            group,
            ..
        } => place.put_link(target, *user, *group, ID),
        Undo::File {
            path,
            mode,
            user,
            group,
            modified_seconds,
            modified_nanoseconds,
            extended,
            ..
        } => {
            let unreadable = |error| io_error(format!("cannot read the saved {path}"), error);
            let file = copy.ok_or_else(|| unreadable(io::ErrorKind::NotFound.into()))?;
            let bytes = file.metadata().map_err(unreadable)?.len();
            let mut content = Content::File { file, bytes };
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
    }
}

/// Removes the folders that were made, innermost first, as far as they are empty and the policy lets the agent change them:
/// what is allowed may begin below them, and an empty folder around it is no reason to call the rest not put back.
fn remove_folders(folders: &[String], guard: &Guard) -> Result<(), DeployError> {
    for made in folders.iter().rev() {
        let place = match Target::open(made, guard) {
            Ok(Opened::Folder(place)) => place,
            Ok(Opened::Missing(_)) => continue,
            Err(DeployError::Denied(_)) => break,
            Err(error) => return Err(error),
        };
        // One that others have put something into stays, and so do those around it.
        if !place.remove_empty_folder()? {
            break;
        }
    }
    Ok(())
}

/// Labels are the system's: it may set them anew at any time.
fn comparable(mut found: Extended) -> Extended {
    found.retain(|name, _| !extended::is_label(name));
    found
}

fn digest_of(file: &mut File) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(hex::encode(digest.finalize())),
            Ok(count) => digest.update(piece.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
