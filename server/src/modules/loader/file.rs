//! Module files on disk: who may have written them, reading them once, and the sealed copy they are loaded from. A file
//! that anybody but root or the server's own user could have changed is not looked into.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};

/// A module is a few MiB, some tens with debug information.
const LIBRARY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A signature is under a kilobyte.
const SIGNATURE_BYTES_MAX: u64 = 16 * 1024;
const GROUP_OR_OTHER_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;
/// As the system's own limit.
const LINKS_MAX: usize = 40;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{path} cannot be read: {source}")]
    Read {
        path: String,
        source: std::io::Error,
    },
    #[error("{0} is a symbolic link")]
    Link(String),
    #[error("{0} is not a regular file")]
    NotAFile(String),
    #[error("{path} is owned by user {owner}, neither root nor this server's")]
    Owner { path: String, owner: u32 },
    #[error("{0} may be written by its group or by others")]
    Writable(String),
    #[error("{path} has {size} bytes, more than {max}")]
    Size { path: String, size: u64, max: u64 },
    #[error("it is unsigned: there is no {0}")]
    Unsigned(String),
}

/// What tells one state of a file from the next, without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    library: FileState,
    signature: Option<FileState>,
}

/// Who may have written a file decides as much as its contents, so a change of owner or mode is one of state. The time of
/// the last change covers what is not named here; owner and mode are named because that time is only as fine as a tick.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileState {
    inode: u64,
    bytes: u64,
    owner: (u32, u32),
    mode: u32,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// `None` if the library is not there.
    pub fn of(path: &Path) -> Option<Self> {
        let one = |path: &Path| {
            let metadata = std::fs::symlink_metadata(path).ok()?;
            Some(FileState {
                inode: metadata.ino(),
                bytes: metadata.len(),
                owner: (metadata.uid(), metadata.gid()),
                mode: metadata.mode(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            })
        };
        Some(Self {
            library: one(path)?,
            signature: one(&signature_path(path)),
        })
    }
}

/// A library and its signature, read once. An unsigned one is read too, for what it calls itself.
pub struct LibraryFile {
    pub bytes: Vec<u8>,
    pub signature: Result<String, FileError>,
}

impl LibraryFile {
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let bytes = read_checked(path, LIBRARY_BYTES_MAX)?;
        let signature_path = signature_path(path);
        let signature = match read_checked(&signature_path, SIGNATURE_BYTES_MAX) {
            Err(FileError::Read { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Err(FileError::Unsigned(name_of(&signature_path)))
            }
            // What is not text is not a signature; the check of its format says so.
            other => other.map(|signature| String::from_utf8(signature).unwrap_or_default()),
        };
        Ok(Self { bytes, signature })
    }
}

/// Refuses a folder that others could have put files into, or could put another in place of: every component on the way
/// to it, through every symbolic link, must belong to root or to this user and be closed to others, except sticky folders
/// of root; and so must every link.
pub fn check_folder(folder: &Path) -> Result<(), FileError> {
    let whole = std::path::absolute(folder).map_err(|source| unreadable(folder, source))?;
    let mut at = PathBuf::from("/");
    check_part(&at)?;
    let mut ahead = components(&whole);
    let mut links = 0;
    while let Some(part) = ahead.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        let metadata =
            std::fs::symlink_metadata(&next).map_err(|source| unreadable(&next, source))?;
        if !metadata.is_symlink() {
            check_part(&next)?;
            at = next;
            continue;
        }
        // Where others may make entries (a sticky folder), a link of another's leads where the other likes.
        check_ownership(&next, &metadata)?;
        links += 1;
        if links > LINKS_MAX {
            return Err(FileError::Link(name_of(&next)));
        }
        let target = std::fs::read_link(&next).map_err(|source| unreadable(&next, source))?;
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        ahead.extend(components(&target));
    }
    Ok(())
}

/// The names on the way, the first of them last.
fn components(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut names: Vec<OsString> = names.collect();
    names.reverse();
    names
}

fn check_part(part: &Path) -> Result<(), FileError> {
    let metadata = std::fs::symlink_metadata(part).map_err(|source| unreadable(part, source))?;
    let sticky_of_root = metadata.uid() == 0 && metadata.mode() & STICKY != 0;
    if sticky_of_root {
        return Ok(());
    }
    check_owner(part, &metadata)
}

/// The bytes as a file in memory that nobody can change any more.
pub fn seal(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let descriptor = rustix::fs::memfd_create(
        "fleet-module",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?;
    let mut file = File::from(descriptor);
    file.write_all(bytes)?;
    let descriptor = OwnedFd::from(file);
    rustix::fs::fcntl_add_seals(
        &descriptor,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(descriptor)
}

fn read_checked(path: &Path, max: u64) -> Result<Vec<u8>, FileError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let descriptor = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
        if error == rustix::io::Errno::LOOP {
            FileError::Link(name_of(path))
        } else {
            unreadable(path, error.into())
        }
    })?;
    let file = File::from(descriptor);
    let metadata = file.metadata().map_err(|source| unreadable(path, source))?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile(name_of(path)));
    }
    check_owner(path, &metadata)?;
    let too_large = |size| FileError::Size {
        path: name_of(path),
        size,
        max,
    };
    if metadata.len() > max {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    file.take(max + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| unreadable(path, source))?;
    // It may have grown since it was looked at.
    if bytes.len() as u64 > max {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

fn check_ownership(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() == 0 || metadata.uid() == own {
        return Ok(());
    }
    Err(FileError::Owner {
        path: name_of(path),
        owner: metadata.uid(),
    })
}

fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    check_ownership(path, metadata)?;
    if metadata.mode() & GROUP_OR_OTHER_WRITE != 0 {
        return Err(FileError::Writable(name_of(path)));
    }
    Ok(())
}

fn signature_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(fleetwright_signing::signature::SUFFIX);
    PathBuf::from(name)
}

fn unreadable(path: &Path, source: std::io::Error) -> FileError {
    FileError::Read {
        path: name_of(path),
        source,
    }
}

/// The file's own name; whole paths stay out of what clients see. A folder is named whole.
fn name_of(path: &Path) -> String {
    match path.file_name() {
        Some(name) if !path.is_dir() => name.to_string_lossy().into_owned(),
        Some(_) | None => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    fn file(folder: &Path, name: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, b"bytes").expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("mode");
        path
    }

    #[test]
    fn only_a_closed_regular_file_is_read() {
        let folder = folder();
        let good = file(folder.path(), "good.so", 0o644);
        file(folder.path(), "good.so.sig", 0o644);
        let read = LibraryFile::read(&good).expect("read");
        assert_eq!(read.signature.expect("signed"), "bytes");
        let unsigned = file(folder.path(), "unsigned.so", 0o644);
        let read = LibraryFile::read(&unsigned).expect("read");
        assert_eq!(
            read.signature.expect_err("unsigned").to_string(),
            "it is unsigned: there is no unsigned.so.sig"
        );

        let refused = |path: &Path| match LibraryFile::read(path) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{} was read", path.display()),
        };
        for mode in [0o666, 0o664] {
            let open = file(folder.path(), "open.so", mode);
            assert_eq!(
                refused(&open),
                "open.so may be written by its group or by others"
            );
        }
        let link = folder.path().join("link.so");
        symlink(&good, &link).expect("link");
        assert_eq!(refused(&link), "link.so is a symbolic link");
        let directory = folder.path().join("directory.so");
        std::fs::create_dir(&directory).expect("folder");
        assert!(refused(&directory).ends_with("is not a regular file"));
    }

    #[test]
    fn a_change_of_mode_is_a_new_state_of_the_library_and_of_its_signature() {
        let folder = folder();
        let library = file(folder.path(), "good.so", 0o664);
        let signature = file(folder.path(), "good.so.sig", 0o664);
        let mut seen = vec![Stamp::of(&library).expect("a stamp")];
        for path in [&library, &signature] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("mode");
            let now = Stamp::of(&library).expect("a stamp");
            assert!(!seen.contains(&now), "{}", path.display());
            seen.push(now);
        }
        assert_eq!(
            Stamp::of(&library).as_ref(),
            seen.last(),
            "nothing else changed"
        );
    }

    #[test]
    fn a_folder_others_may_write_to_is_refused() {
        let folder = folder();
        assert!(check_folder(folder.path()).is_ok());
        let inner = folder.path().join("open");
        std::fs::create_dir(&inner).expect("folder");
        std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(0o777)).expect("mode");
        let modules = inner.join("modules");
        std::fs::create_dir(&modules).expect("folder");
        assert!(
            matches!(check_folder(&modules), Err(FileError::Writable(_))),
            "an open parent"
        );
        // A sticky folder protects its entries only where root made it sticky.
        std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(0o1777)).expect("mode");
        let root = rustix::process::geteuid().is_root();
        assert_eq!(check_folder(&modules).is_ok(), root);
    }

    #[test]
    fn a_link_is_as_open_as_the_folder_it_stands_in() {
        let folder = folder();
        let (open, safe) = (folder.path().join("open"), folder.path().join("safe"));
        std::fs::create_dir(&open).expect("folder");
        std::fs::create_dir_all(safe.join("modules")).expect("folder");
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).expect("mode");
        symlink(safe.join("modules"), open.join("link")).expect("link");
        symlink(safe.join("modules"), safe.join("link")).expect("link");
        symlink("link", safe.join("relative")).expect("link");
        symlink("../open/link", safe.join("through")).expect("link");
        symlink("round", safe.join("round")).expect("link");
        for good in ["modules", "link", "relative", "../safe/./link"] {
            assert!(check_folder(&safe.join(good)).is_ok(), "{good}");
        }
        for path in [
            open.join("link"),
            safe.join("through"),
            open.join("../safe/modules"),
        ] {
            let refused = check_folder(&path);
            assert!(
                matches!(refused, Err(FileError::Writable(_))),
                "{}: {refused:?}",
                path.display()
            );
        }
        assert!(check_folder(&safe.join("round")).is_err());
        assert!(check_folder(&safe.join("nothing")).is_err());
    }

    #[test]
    fn a_sealed_copy_cannot_be_changed() {
        let sealed = seal(b"library").expect("sealed");
        let error = rustix::io::pwrite(sealed.as_fd(), b"x", 0).expect_err("writing a sealed copy");
        assert_eq!(error, rustix::io::Errno::PERM);
        assert!(rustix::fs::ftruncate(&sealed, 1).is_err());
    }
}
