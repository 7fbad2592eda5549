//! Where something is in its own file system: what is mounted in two places, or a part of it, is one thing. From
//! `/proc/self/mountinfo`; see proc(5).

use std::ffi::OsString;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// All mounts, as they are now.
#[derive(Debug, Default)]
pub struct Mounts(Vec<Mount>);

#[derive(Debug, PartialEq, Eq)]
struct Mount {
    id: u64,
    device: String,
    /// What of the file system is mounted.
    root: PathBuf,
    point: PathBuf,
}

/// A file system, by its device, and a path within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    device: String,
    path: PathBuf,
}

impl Mounts {
    /// None where the kernel does not tell.
    pub fn read() -> Self {
        let text = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        Self(
            text.split(|byte| *byte == b'\n')
                .filter_map(mount)
                .collect(),
        )
    }

    /// Of an open file or folder; `None` if it cannot be told.
    pub fn position(&self, open: BorrowedFd<'_>) -> Option<Position> {
        let number = open.as_raw_fd();
        let path = std::fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
        let mount = match mount_id(number) {
            Some(id) => self.0.iter().find(|mount| mount.id == id)?,
            None => self.around(&path)?,
        };
        let below = path.strip_prefix(&mount.point).ok()?;
        Some(Position {
            device: mount.device.clone(),
            path: joined(&mount.root, below),
        })
    }
}

impl Mounts {
    /// The mount that a path is in: of those around it the innermost, and there the one on top, which comes last.
    fn around(&self, path: &Path) -> Option<&Mount> {
        let around = self.0.iter().filter(|mount| path.starts_with(&mount.point));
        around.max_by_key(|mount| mount.point.components().count())
    }
}

/// The mount of an open file. Kernels before 5.14 do not tell a thread that acts as another account.
fn mount_id(number: RawFd) -> Option<u64> {
    let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
    let id = about
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:"))?;
    id.trim().parse().ok()
}

impl Position {
    /// Of what is, or is to be, below it.
    pub fn below(&self, parts: &[OsString]) -> Self {
        let mut path = self.path.clone();
        path.extend(parts);
        Self {
            device: self.device.clone(),
            path,
        }
    }

    pub fn lies_in(&self, other: &Self) -> bool {
        self.device == other.device && self.path.starts_with(&other.path)
    }
}

fn joined(root: &Path, below: &Path) -> PathBuf {
    let mut path = root.to_owned();
    path.extend(below);
    path
}

/// Of a line `id parent major:minor root point …`.
fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let text = |field: &[u8]| str::from_utf8(field).ok().map(str::to_owned);
    let id = text(fields.next()?)?.parse().ok()?;
    let device = text(fields.nth(1)?)?;
    let root = unescaped(fields.next()?);
    let point = unescaped(fields.next()?);
    Some(Mount {
        id,
        device,
        root,
        point,
    })
}

/// Spaces and the like are written as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let code =
            digits.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read_with_its_escapes() {
        let line = b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(
            mount(line),
            Some(Mount {
                id: 36,
                device: "98:0".to_owned(),
                root: "/mnt1".into(),
                point: "/mnt 2".into(),
            })
        );
        for broken in [&b""[..], b"x", b"1 2 3:4", b"1 2 3:4 /"] {
            assert_eq!(mount(broken), None);
        }
        assert_eq!(unescaped(b"a\\b\\134c\\9"), PathBuf::from("a\\b\\c\\9"));
    }

    #[test]
    fn positions_are_compared_part_by_part_within_one_file_system() {
        let at = |device: &str, path: &str| Position {
            device: device.to_owned(),
            path: path.into(),
        };
        assert!(at("1:1", "/a/b").lies_in(&at("1:1", "/a")));
        assert!(!at("1:2", "/a/b").lies_in(&at("1:1", "/a")));
        assert!(!at("1:1", "/ab").lies_in(&at("1:1", "/a")));
    }

    #[test]
    fn the_mount_of_a_path_is_the_innermost_and_the_one_on_top() {
        let mount = |id, point: &str| Mount {
            id,
            device: "1:1".to_owned(),
            root: "/".into(),
            point: point.into(),
        };
        let mounts = Mounts(vec![
            mount(1, "/"),
            mount(2, "/a/b"),
            mount(3, "/a"),
            mount(4, "/a/b"),
        ]);
        for (path, expected) in [("/x", 1), ("/a/bc", 3), ("/a/b", 4), ("/a/b/c/d", 4)] {
            let found = mounts.around(Path::new(path)).map(|mount| mount.id);
            assert_eq!(found, Some(expected), "{path}");
        }
        // As the kernel has it.
        let folder = tempfile::tempdir().unwrap();
        let open = std::fs::File::open(folder.path()).unwrap();
        let mounts = Mounts::read();
        let path = std::fs::canonicalize(folder.path()).unwrap();
        assert_eq!(
            mounts.around(&path).map(|mount| mount.id),
            mount_id(open.as_raw_fd())
        );
    }

    #[test]
    fn an_open_folder_has_a_position() {
        let folder = tempfile::tempdir().unwrap();
        let open = std::fs::File::open(folder.path()).unwrap();
        if let Some(position) = Mounts::read().position(open.as_fd()) {
            assert_eq!(position.path.file_name(), folder.path().file_name());
        }
    }
}
