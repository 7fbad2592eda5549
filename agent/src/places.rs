//! Where a path leads: the folder that is really there, opened, and what of the path does not exist yet. Two paths are the
//! same place if what is opened is the same, whatever they are called: links, mounts and letters in another case make
//! other names, not other places.

pub mod mounts;
pub mod rule;

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fstat, fstatfs, openat, readlinkat, statat,
};
use rustix::io::Errno;

/// The kernel's own limit for one path.
const LINKS_MAX: u32 = 40;
const FOLDER: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const OTHERS_MAY_WRITE: u32 = 0o022;
/// In such a folder only the owner of an entry may rename or remove it.
const STICKY: u32 = 0o1000;
/// proc(5): links that lead wherever a process is.
const PROC_MAGIC: u64 = 0x9fa0;

/// Which symbolic links are followed on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    All,
    /// Those that only root can change: as `/bin` of a system whose programs are all in `/usr/bin`, or `/var/run`.
    OfRoot,
}

/// What is opened: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId {
    device: u64,
    inode: u64,
}

/// An open folder, and the parts of the path below it that do not exist.
#[derive(Debug)]
pub struct Place {
    pub folder: OwnedFd,
    pub rest: Vec<OsString>,
}

#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("{} is a symbolic link that others than root may change; it is not followed", .0.display())]
    Link(PathBuf),
    #[error("{} is not a folder", .0.display())]
    NotFolder(PathBuf),
    #[error("cannot open {}: {error}", .at.display())]
    Io { at: PathBuf, error: Errno },
}

impl FileId {
    pub fn of(found: &Stat) -> Self {
        // Their types differ between platforms.
        #[expect(
            clippy::useless_conversion,
            reason = "device numbers have other types elsewhere"
        )]
        Self {
            device: found.st_dev.into(),
            inode: found.st_ino.into(),
        }
    }
}

impl Place {
    /// Of a folder. A part that is missing does not end the way; one that is no folder does.
    pub fn of_folder(path: &Path, links: Links) -> Result<Self, PlaceError> {
        Self::from(None, path, links)
    }

    /// As [`Place::of_folder`], from a folder that is open where the path is not absolute.
    fn from(start: Option<BorrowedFd<'_>>, path: &Path, links: Links) -> Result<Self, PlaceError> {
        let mut walk = Walk::begin(start.filter(|_| !path.is_absolute()), links)?;
        let mut ahead = parts_ahead(path);
        while let Some(part) = ahead.pop() {
            if let Some(target) = walk.enter(&part)? {
                ahead.append(&mut parts_ahead(&target));
            }
        }
        Ok(Self {
            folder: walk.folder,
            rest: walk.rest,
        })
    }

    /// The open folder and all above it.
    fn chain(&self) -> Result<Vec<FileId>, Errno> {
        let mut chain = vec![FileId::of(&fstat(&self.folder)?)];
        let mut folder = openat(&self.folder, "..", FOLDER, Mode::empty())?;
        loop {
            let id = FileId::of(&fstat(&folder)?);
            // Only the root is its own parent.
            if chain.last() == Some(&id) {
                return Ok(chain);
            }
            chain.push(id);
            folder = openat(&folder, "..", FOLDER, Mode::empty())?;
        }
    }
}

/// On the way.
struct Walk {
    links: Links,
    followed: u32,
    folder: OwnedFd,
    rest: Vec<OsString>,
    /// So far only root could have made the way another.
    is_roots: bool,
    /// For people.
    at: PathBuf,
}

impl Walk {
    fn begin(start: Option<BorrowedFd<'_>>, links: Links) -> Result<Self, PlaceError> {
        let at = PathBuf::from("/");
        let opened = match start {
            None => rustix::fs::open("/", FOLDER, Mode::empty()),
            Some(folder) => openat(folder, ".", FOLDER, Mode::empty()),
        };
        let folder = opened.map_err(|error| PlaceError::Io {
            at: at.clone(),
            error,
        })?;
        let mut walk = Self {
            links,
            followed: 0,
            is_roots: start.is_none(),
            folder,
            rest: Vec::new(),
            at,
        };
        walk.judge()?;
        Ok(walk)
    }

    /// One part further. Returns where a link leads, if it was one.
    fn enter(&mut self, part: &OsStr) -> Result<Option<PathBuf>, PlaceError> {
        if !self.rest.is_empty() {
            if part == ".." {
                return Err(self.error(Errno::NOENT));
            }
            self.rest.push(part.to_owned());
            return Ok(None);
        }
        self.at.push(part);
        match openat(&self.folder, part, FOLDER, Mode::empty()) {
            Ok(folder) => {
                self.folder = folder;
                self.judge()?;
                Ok(None)
            }
            Err(Errno::NOENT) => {
                self.rest.push(part.to_owned());
                Ok(None)
            }
            Err(Errno::NOTDIR | Errno::LOOP) => self.follow(part).map(Some),
            Err(error) => Err(self.error(error)),
        }
    }

    fn follow(&mut self, part: &OsStr) -> Result<PathBuf, PlaceError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link =
            openat(&self.folder, part, flags, Mode::empty()).map_err(|error| self.error(error))?;
        let found = fstat(&link).map_err(|error| self.error(error))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
            return Err(PlaceError::NotFolder(self.at.clone()));
        }
        let is_roots = self.is_roots && found.st_uid == 0 && !is_proc(self.folder.as_fd());
        if self.links == Links::OfRoot && !is_roots {
            return Err(PlaceError::Link(self.at.clone()));
        }
        self.followed += 1;
        if self.followed > LINKS_MAX {
            return Err(self.error(Errno::LOOP));
        }
        let target = readlinkat(&link, "", Vec::new()).map_err(|error| self.error(error))?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        self.at.pop();
        if target.is_absolute() {
            let root = Self::begin(None, self.links)?;
            (self.folder, self.at, self.is_roots) = (root.folder, root.at, root.is_roots);
        }
        Ok(target)
    }

    /// Whether others than root could put other entries into the folder that was entered.
    fn judge(&mut self) -> Result<(), PlaceError> {
        let found = fstat(&self.folder).map_err(|error| self.error(error))?;
        let mode = found.st_mode;
        let is_roots = found.st_uid == 0 && (mode & OTHERS_MAY_WRITE == 0 || mode & STICKY != 0);
        self.is_roots = self.is_roots && is_roots;
        Ok(())
    }

    fn error(&self, error: Errno) -> PlaceError {
        let at = self.at.clone();
        PlaceError::Io { at, error }
    }
}

/// The parts of a path, the first one last.
fn parts_ahead(path: &Path) -> Vec<OsString> {
    let named = path.components().filter_map(|component| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut parts: Vec<OsString> = named.collect();
    parts.reverse();
    parts
}

/// The entry of this name, not followed; `None` if there is none.
fn entry(folder: BorrowedFd<'_>, name: &OsStr) -> Result<Option<Stat>, Errno> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_proc(folder: BorrowedFd<'_>) -> bool {
    file_system(folder) == Some(PROC_MAGIC)
}

/// Which kind it is, by the number that the kernel gives it.
fn file_system(folder: BorrowedFd<'_>) -> Option<u64> {
    let found = fstatfs(folder).ok()?;
    // The number has 32 bits, in a type that differs between platforms.
    #[expect(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "only these bits are it"
    )]
    Some(u64::from(found.f_type as u32))
}

/// Whether names that differ only in the case of letters are one there.
fn folds_case(folder: BorrowedFd<'_>) -> bool {
    /// vfat, exfat, ntfs (two drivers), cifs, smb2, hfs+.
    const FOLDING: [u64; 7] = [
        0x4d44,
        0x2011_bab0,
        0x5346_544e,
        0x7366_746e,
        0xff53_4d42,
        0xfe53_4d42,
        0x482b,
    ];
    /// FS_CASEFOLD_FL: a folder of ext4, f2fs or tmpfs that does.
    const CASEFOLD: u32 = 0x4000_0000;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let has_flag = openat(folder, ".", flags, Mode::empty())
        .and_then(rustix::fs::ioctl_getflags)
        .is_ok_and(|flags| flags.bits() & CASEFOLD != 0);
    has_flag || file_system(folder).is_some_and(|kind| FOLDING.contains(&kind))
}

/// Whether a file has the same inode number for as long as it lives: not where the kernel makes one up with each mount or
/// look.
pub fn has_lasting_numbers(open: BorrowedFd<'_>) -> bool {
    /// vfat, exfat, overlay, fuse.
    const MADE_UP: [u64; 4] = [0x4d44, 0x2011_bab0, 0x794c_7630, 0x6573_5546];
    file_system(open).is_some_and(|kind| !MADE_UP.contains(&kind))
}

fn same_name(one: &OsStr, other: &OsStr, folds: bool) -> bool {
    if folds {
        one.as_bytes().eq_ignore_ascii_case(other.as_bytes())
    } else {
        one == other
    }
}
