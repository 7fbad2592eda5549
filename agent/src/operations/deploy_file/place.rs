//! The file system side of a deployment: the folder is opened once, by no link that others than root could have laid, and
//! everything happens relative to that handle, so that nobody can swap a parent under way.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, chownat, fchmod, fchown,
    linkat, mkdirat, openat, readlinkat, renameat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::content::Content;
use super::extended::{self, Extended};
use super::failure::{DeployError, io_error, refused};
use crate::guard::Guard;
use crate::places::{self, Links, Place, PlaceError};

/// Compared and copied in pieces of this size, so that memory stays flat.
const PIECE_BYTES: usize = 128 * 1024;
const FOLDER: OFlags = OFlags::DIRECTORY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);
/// Folders made for a deployment can be read by all, like those of a package.
const FOLDER_MODE: u32 = 0o755;

/// A place for a file: its folder, opened, and its name there.
pub struct Target<'a> {
    path: &'a str,
    folder: OwnedFd,
    name: &'a str,
}

/// What was found of the folder.
pub enum Opened<'a> {
    Folder(Target<'a>),
    Missing(Missing<'a>),
}

/// A place whose folder is not there yet.
pub struct Missing<'a> {
    /// Its folder is the nearest that is there.
    target: Target<'a>,
    rest: Vec<OsString>,
    /// Of the folders that are missing, outermost first.
    pub paths: Vec<String>,
}

/// What is at the place now.
pub enum Existing {
    None,
    /// A symbolic link, which a deployment replaces and never follows.
    Link,
    File(Found),
}

#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// All twelve bits.
    pub mode: u32,
    pub user: u32,
    pub group: u32,
    pub bytes: u64,
}

/// What the new file is to have; an owner of `None` is whoever writes it.
pub struct Attributes {
    pub mode: u32,
    pub user: Option<u32>,
    pub group: Option<u32>,
    /// `None`: what the file system gives a new file.
    pub extended: Option<Extended>,
}

/// What there is to say of a file besides its content.
pub struct Described {
    pub found: Found,
    pub extended: Extended,
    pub modified_seconds: i64,
    pub modified_nanoseconds: u32,
    /// `None` where numbers of files do not last.
    pub inode: Option<u64>,
}

/// The new file under its temporary name; removed again unless it is put in place.
pub struct Temporary<'a> {
    target: &'a Target<'a>,
    name: String,
    file: File,
    in_place: bool,
}

impl<'a> Target<'a> {
    /// Opens the folder, if the guard lets a file be put there.
    pub fn open(path: &'a str, guard: &Guard) -> Result<Opened<'a>, DeployError> {
        let mut parts: Vec<&str> = path
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
            .collect();
        let name = parts
            .pop()
            .ok_or_else(|| refused("the path names no file"))?;
        let parent: PathBuf = std::iter::once("/").chain(parts).collect();
        let place = Place::of_folder(&parent, Links::OfRoot).map_err(|error| match error {
            PlaceError::Io { at, error } => {
                let at = at.display();
                io_error(format!("cannot open the folder {at}"), error.into())
            }
            PlaceError::Link(_) | PlaceError::NotFolder(_) => refused(&error.to_string()),
        })?;
        guard.check(&place, OsStr::new(name), path)?;
        let Place { folder, rest } = place;
        let target = Self {
            path,
            folder: readable(folder),
            name,
        };
        if rest.is_empty() {
            return Ok(Opened::Folder(target));
        }
        let mut paths = Vec::new();
        let mut path = parent.clone();
        for _ in &rest {
            paths.push(path.to_string_lossy().into_owned());
            path.pop();
        }
        paths.reverse();
        Ok(Opened::Missing(Missing {
            target,
            rest,
            paths,
        }))
    }

    pub fn path(&self) -> &str {
        self.path
    }

    pub fn existing(&self) -> Result<Existing, DeployError> {
        let found = match statat(&self.folder, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(Existing::None),
            Err(error) => return Err(self.error("cannot look at", error.into())),
        };
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => Ok(Existing::File(Found {
                mode: found.st_mode & 0o7777,
                user: found.st_uid,
                group: found.st_gid,
                bytes: u64::try_from(found.st_size).unwrap_or_default(),
            })),
            FileType::Symlink => Ok(Existing::Link),
            FileType::Directory => Err(refused(&format!("{} is a folder", self.path))),
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Err(refused(&format!("{} is not a regular file", self.path))),
        }
    }

    /// Whether the file there has exactly these bytes. One that may not be read counts as another.
    pub fn holds(&self, found: &Found, content: &mut Content) -> Result<bool, DeployError> {
        if found.bytes != content.len() {
            return Ok(false);
        }
        let Some(mut old) = self.open_readable()? else {
            return Ok(false);
        };
        let mut piece = vec![0; PIECE_BYTES];
        let mut same = true;
        let compared = each_piece(content, |wanted| {
            let there = piece.get_mut(..wanted.len()).unwrap_or_default();
            same = same && old.read_exact(there).is_ok() && there == wanted;
            Ok(())
        });
        compared.map_err(|error| self.error("cannot compare", error))?;
        Ok(same)
    }

    /// Writes the new file beside the old one, complete and on disk. `check` may end the work between pieces.
    pub fn write_temporary(
        &'a self,
        content: &mut Content,
        attributes: &Attributes,
        id: &str,
        check: &mut dyn FnMut() -> Result<(), DeployError>,
    ) -> Result<Temporary<'a>, DeployError> {
        // Left over from an agent that died: it has this command's name, so it is ours.
        self.clear_temporary(id);
        let name = temporary_name(id);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.folder, &name, flags, Mode::from_raw_mode(0o600))
            .map_err(|error| self.error("cannot write beside", error.into()))?;
        let mut temporary = Temporary {
            target: self,
            name,
            file: File::from(file),
            in_place: false,
        };
        let file = &mut temporary.file;
        let mut stopped = None;
        let written = each_piece(content, |piece| {
            if let Err(stop) = check() {
                stopped = Some(stop);
                return Err(io::ErrorKind::Interrupted.into());
            }
            file.write_all(piece)
        });
        if let Some(stop) = stopped {
            return Err(stop);
        }
        written.map_err(|error| self.error("cannot write", error))?;
        self.set_attributes(file, attributes)?;
        file.sync_all()
            .map_err(|error| self.error("cannot write", error))?;
        Ok(temporary)
    }

    /// Gives what is there now a second name, which it keeps when the first is taken. Returns that name's path.
    pub fn keep_backup(&self, id: &str) -> Result<String, DeployError> {
        let backup = format!("{}.bak-{id}", self.name);
        let linked = linkat(
            &self.folder,
            self.name,
            &self.folder,
            &backup,
            AtFlags::empty(),
        );
        match linked {
            Ok(()) => {}
            // A repetition of the same command, whose backup is the older and right one.
            Err(Errno::EXIST) => {}
            // File systems without hard links, and links the kernel protects.
            Err(Errno::PERM | Errno::NOTSUP | Errno::MLINK) => self.copy_backup(&backup)?,
            Err(error) => return Err(self.error("cannot back up", error.into())),
        }
        let folder = self.path.trim_end_matches(self.name);
        Ok(format!("{folder}{backup}"))
    }

    fn copy_backup(&self, backup: &str) -> Result<(), DeployError> {
        let failed = |error: io::Error| self.error("cannot back up", error);
        if let Existing::Link = self.existing()? {
            let link = readlinkat(&self.folder, self.name, Vec::new())
                .map_err(|error| failed(error.into()))?;
            return symlinkat(link, &self.folder, backup).map_err(|error| failed(error.into()));
        }
        let old = self.open_there().map_err(|error| failed(error.into()))?;
        let found = rustix::fs::fstat(&old).map_err(|error| failed(error.into()))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let new = openat(&self.folder, backup, flags, Mode::from_raw_mode(0o600))
            .map_err(|error| failed(error.into()))?;
        let mut new = File::from(new);
        let extended = extended::read(old.as_fd()).map_err(|error| failed(error.into()))?;
        io::copy(&mut File::from(old), &mut new).map_err(failed)?;
        let attributes = Attributes {
            mode: found.st_mode & 0o777,
            user: Some(found.st_uid),
            group: Some(found.st_gid),
            extended: Some(extended::of_new_content(extended)),
        };
        self.set_attributes(&new, &attributes)?;
        new.sync_all().map_err(failed)
    }

    /// The file there; `None` if it may not be read or is no file any more.
    fn open_readable(&self) -> Result<Option<File>, DeployError> {
        match self.open_there() {
            Ok(there) => Ok(Some(there.into())),
            Err(Errno::ACCESS | Errno::PERM | Errno::NOENT | Errno::LOOP) => Ok(None),
            Err(error) => Err(self.error("cannot read", error.into())),
        }
    }

    fn open_there(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        openat(&self.folder, self.name, flags, Mode::empty())
    }

    /// The extended attributes of the file there; `None` if it may not be read.
    pub fn extended(&self) -> Result<Option<Extended>, DeployError> {
        let Some(there) = self.open_readable()? else {
            return Ok(None);
        };
        let read = extended::read(there.as_fd());
        read.map(Some)
            .map_err(|error| self.error("cannot read the extended attributes of", error.into()))
    }

    /// The file there with all that is known of it; an error if it may not be read.
    pub fn read(&self) -> Result<(File, Described), DeployError> {
        let failed = |error: Errno| self.error("cannot read", error.into());
        let there = File::from(self.open_there().map_err(failed)?);
        let described = described(&there).map_err(failed)?;
        Ok((there, described))
    }

    /// Where the symbolic link there points to, its owner and its group.
    pub fn link(&self) -> Result<(Vec<u8>, u32, u32), DeployError> {
        let failed = |error: Errno| self.error("cannot read", error.into());
        let target = readlinkat(&self.folder, self.name, Vec::new()).map_err(failed)?;
        let found = statat(&self.folder, self.name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        Ok((target.into_bytes(), found.st_uid, found.st_gid))
    }

    /// Puts a symbolic link in the place of what is there.
    pub fn put_link(
        &self,
        target: &[u8],
        user: u32,
        group: u32,
        id: &str,
    ) -> Result<(), DeployError> {
        self.existing()?;
        self.clear_temporary(id);
        let name = temporary_name(id);
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
        let placed = symlinkat(target, &self.folder, &name)
            .and_then(|()| {
                let found = statat(&self.folder, &name, AtFlags::SYMLINK_NOFOLLOW)?;
                if (found.st_uid, found.st_gid) == (user.as_raw(), group.as_raw()) {
                    return Ok(());
                }
                let (user, group) = (Some(user), Some(group));
                chownat(&self.folder, &name, user, group, AtFlags::SYMLINK_NOFOLLOW)
            })
            .and_then(|()| renameat(&self.folder, &name, &self.folder, self.name));
        placed.map_err(|error| {
            self.clear_temporary(id);
            self.error("cannot put back the symbolic link", error.into())
        })
    }

    /// Removes the file there.
    pub fn remove(&self) -> Result<(), DeployError> {
        unlinkat(&self.folder, self.name, AtFlags::empty())
            .map_err(|error| self.error("cannot remove", error.into()))?;
        // One that cannot be synced is as above.
        let _ = rustix::fs::fsync(&self.folder);
        Ok(())
    }

    /// Removes the folder there if it is empty. Returns whether it is gone.
    pub fn remove_empty_folder(&self) -> Result<bool, DeployError> {
        match unlinkat(&self.folder, self.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(self.error("cannot remove the folder", error.into())),
        }
    }

    /// Removes what a deployment under this id left when it was cut off.
    pub fn clear_temporary(&self, id: &str) {
        // Most often there is none.
        let _ = unlinkat(&self.folder, temporary_name(id), AtFlags::empty());
    }

    /// Owner before mode: a change of owner may clear mode bits. The mode last: its group bits are the mask of an access
    /// control list, and this is what `chmod` would make of the file.
    fn set_attributes(&self, file: &File, attributes: &Attributes) -> Result<(), DeployError> {
        let now =
            rustix::fs::fstat(file).map_err(|error| self.error("cannot look at", error.into()))?;
        let user = attributes.user.filter(|user| *user != now.st_uid);
        let group = attributes.group.filter(|group| *group != now.st_gid);
        if user.is_some() || group.is_some() {
            fchown(file, user.map(Uid::from_raw), group.map(Gid::from_raw)).map_err(|error| {
                self.error(
                    "cannot give the right owner (which may need root) to",
                    error.into(),
                )
            })?;
        }
        if let Some(wanted) = &attributes.extended {
            extended::write(file.as_fd(), wanted).map_err(|(name, error)| {
                let what = format!("cannot set the extended attribute {name} of");
                self.error(&what, error.into())
            })?;
        }
        fchmod(file, Mode::from_raw_mode(attributes.mode))
            .map_err(|error| self.error("cannot set the mode of", error.into()))
    }

    fn error(&self, what: &str, error: io::Error) -> DeployError {
        io_error(format!("{what} {}", self.path), error)
    }
}

impl Temporary<'_> {
    /// What it is, and will be under its own name.
    pub fn described(&self) -> Result<Described, DeployError> {
        described(&self.file).map_err(|error| self.target.error("cannot look at", error.into()))
    }

    /// Sets when it was changed last.
    pub fn set_modified(&self, seconds: i64, nanoseconds: u32) -> Result<(), DeployError> {
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds.into(),
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        let folder = &self.target.folder;
        utimensat(folder, &self.name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.target.error("cannot set the time of", error.into()))
    }

    /// Takes the place of the old file, at once and for good.
    pub fn put_in_place(mut self) -> Result<(), DeployError> {
        let target = self.target;
        renameat(&target.folder, &self.name, &target.folder, target.name)
            .map_err(|error| target.error("cannot replace", error.into()))?;
        self.in_place = true;
        match rustix::fs::fsync(&target.folder) {
            // A folder that may be entered but not read cannot be synced; the rename is atomic all the same.
            Ok(()) | Err(Errno::BADF | Errno::INVAL) => Ok(()),
            Err(error) => Err(target.error("cannot make durable", error.into())),
        }
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.in_place {
            // Already failing; a leftover is cleared by the next attempt of the command.
            let _ = unlinkat(&self.target.folder, &self.name, AtFlags::empty());
        }
    }
}

fn described(file: &File) -> Result<Described, Errno> {
    let found = rustix::fs::fstat(file)?;
    let number = places::has_lasting_numbers(file.as_fd()).then_some(found.st_ino);
    Ok(Described {
        extended: extended::read(file.as_fd())?,
        modified_seconds: found.st_mtime,
        modified_nanoseconds: u32::try_from(found.st_mtime_nsec).unwrap_or_default(),
        inode: number,
        found: Found {
            mode: found.st_mode & 0o7777,
            user: found.st_uid,
            group: found.st_gid,
            bytes: u64::try_from(found.st_size).unwrap_or_default(),
        },
    })
}

fn temporary_name(id: &str) -> String {
    format!(".fleetwright-{id}.tmp")
}

impl<'a> Missing<'a> {
    /// Makes the folders, below the one that was looked at and through no link. Those that somebody else makes in between
    /// are as good.
    pub fn make(self) -> Result<Target<'a>, DeployError> {
        let mut folder = self.target.folder;
        for (part, path) in self.rest.iter().zip(&self.paths) {
            folder = make_part(&folder, part).map_err(|error| {
                io_error(format!("cannot make the folder {path}"), error.into())
            })?;
        }
        Ok(Target {
            folder,
            ..self.target
        })
    }

    /// What there is to say if they are not to be made.
    pub fn error(&self) -> DeployError {
        let path = Path::new(self.target.path)
            .parent()
            .unwrap_or(Path::new("/"));
        let what = format!("cannot open the folder {}", path.display());
        io_error(what, io::ErrorKind::NotFound.into())
    }
}

/// The same folder, opened so that it can be synced, if this account may read it.
fn readable(folder: OwnedFd) -> OwnedFd {
    openat(&folder, ".", FOLDER | OFlags::RDONLY, Mode::empty()).unwrap_or(folder)
}

fn open_part(folder: &OwnedFd, part: &OsStr) -> Result<OwnedFd, Errno> {
    match openat(folder, part, FOLDER | OFlags::RDONLY, Mode::empty()) {
        Err(Errno::ACCESS) => openat(folder, part, FOLDER | OFlags::PATH, Mode::empty()),
        other => other,
    }
}

fn make_part(folder: &OwnedFd, part: &OsStr) -> Result<OwnedFd, Errno> {
    match mkdirat(folder, part, Mode::from_raw_mode(FOLDER_MODE)) {
        // Somebody else made it in between.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    // As durable as the file that goes into it; a folder that cannot be synced is as above.
    let _ = rustix::fs::fsync(folder.as_fd());
    open_part(folder, part)
}

pub fn each_piece(
    content: &mut Content,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    match content {
        Content::Bytes(bytes) => {
            if bytes.is_empty() {
                return take(&[]);
            }
            bytes.chunks(PIECE_BYTES).try_for_each(take)
        }
        Content::File { file, .. } => {
            file.rewind()?;
            let mut piece = vec![0; PIECE_BYTES];
            loop {
                match file.read(&mut piece) {
                    Ok(0) => return Ok(()),
                    Ok(count) => take(piece.get(..count).unwrap_or_default())?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}
