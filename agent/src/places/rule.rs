//! A folder or a file that a policy names, and whether a place lies in it.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat, openat, readlinkat};
use rustix::io::Errno;

use super::mounts::{Mounts, Position};
use super::{FileId, LINKS_MAX, Links, Place, PlaceError, entry, folds_case, same_name};

/// What a path of a policy stands for now: each name it has on the way to what it leads to, and that itself.
#[derive(Debug, Default)]
pub struct Rule {
    /// The folder, or the file, and what it leads to.
    ids: Vec<FileId>,
    spots: Vec<Spot>,
    positions: Vec<Position>,
    /// It could not be looked at: then its text is all there is.
    unseen: Option<PathBuf>,
}

/// A name in an open folder, or what is to be below it.
#[derive(Debug)]
struct Spot {
    folder: FileId,
    rest: Vec<OsString>,
    folds: bool,
}

/// Where a file is to be put.
#[derive(Debug)]
pub struct Standing {
    /// The folder and all above it.
    chain: Vec<FileId>,
    /// Below the folder, the file's name last.
    rest: Vec<OsString>,
    /// What has the name now.
    entry: Option<FileId>,
    /// Of the name, and of what is mounted over it.
    positions: Vec<Position>,
    text: PathBuf,
}

impl Rule {
    /// Looks at the path. It may lead through any links, and need not exist.
    pub fn of(path: &Path, mounts: &Mounts) -> Self {
        let mut rule = Self::default();
        if let Err(error) = rule.look(path, mounts) {
            tracing::debug!(path = %path.display(), %error, "a path of the policy cannot be looked at");
            rule.unseen = Some(path.to_owned());
        }
        rule
    }

    /// Whether the place is, or lies in, what the rule stands for.
    pub fn holds(&self, standing: &Standing) -> bool {
        let spot_holds = |spot: &Spot| {
            let same = |(one, other): (&OsString, &OsString)| same_name(one, other, spot.folds);
            standing.chain.first() == Some(&spot.folder)
                && standing.rest.len() >= spot.rest.len()
                && spot.rest.iter().zip(&standing.rest).all(same)
        };
        let position_holds = |position: &Position| {
            let mut of_place = standing.positions.iter();
            of_place.any(|of_place| of_place.lies_in(position))
        };
        let unseen = self.unseen.as_ref();
        self.ids
            .iter()
            .any(|id| standing.chain.contains(id) || standing.entry == Some(*id))
            || self.spots.iter().any(spot_holds)
            || self.positions.iter().any(position_holds)
            || unseen.is_some_and(|path| standing.text.starts_with(path))
    }

    /// Adds a file of which only the identity matters: other names of it are it.
    pub fn add_file(&mut self, path: &Path) {
        if let Ok(found) = rustix::fs::lstat(path)
            && FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
        {
            self.ids.push(FileId::of(&found));
        }
    }

    fn look(&mut self, path: &Path, mounts: &Mounts) -> Result<(), PlaceError> {
        let mut path = path.to_owned();
        let mut start: Option<Place> = None;
        for _ in 0..LINKS_MAX {
            let from = start.as_ref().map(|place| place.folder.as_fd());
            let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
                // The root, or a link to somewhere above.
                let place = Place::from(from, &path, Links::All)?;
                return self.add(&place, &[], mounts);
            };
            let place = Place::from(from, parent, Links::All)?;
            self.add(&place, &[name.to_owned()], mounts)?;
            let Some(target) = link(&place, name) else {
                return Ok(());
            };
            path = target;
            start = Some(place);
        }
        Err(PlaceError::Io {
            at: path,
            error: Errno::LOOP,
        })
    }

    fn add(
        &mut self,
        place: &Place,
        names: &[OsString],
        mounts: &Mounts,
    ) -> Result<(), PlaceError> {
        let rest = [&place.rest, names].concat();
        let failed = |error| PlaceError::Io {
            at: rest.iter().collect(),
            error,
        };
        let folder = FileId::of(&fstat(&place.folder).map_err(failed)?);
        let position = mounts.position(place.folder.as_fd());
        self.positions
            .extend(position.map(|position| position.below(&rest)));
        match rest.as_slice() {
            [] => self.ids.push(folder),
            [name] => {
                if let Some(found) = entry(place.folder.as_fd(), name).map_err(failed)? {
                    self.ids.push(FileId::of(&found));
                    self.positions.extend(mounted_over(place, name, mounts));
                }
            }
            [_, _, ..] => {}
        }
        if !rest.is_empty() {
            let folds = folds_case(place.folder.as_fd());
            self.spots.push(Spot {
                folder,
                rest,
                folds,
            });
        }
        Ok(())
    }
}

impl Standing {
    /// Of a file of this name in the place. `text` is its path, for where nothing else can be compared.
    pub fn of(place: &Place, name: &OsStr, text: &Path, mounts: &Mounts) -> Result<Self, Errno> {
        let rest = [place.rest.as_slice(), &[name.to_owned()]].concat();
        let found = match place.rest.as_slice() {
            [] => entry(place.folder.as_fd(), name)?,
            [_, ..] => None,
        };
        let position = mounts.position(place.folder.as_fd());
        let mut positions: Vec<Position> = position.iter().map(|at| at.below(&rest)).collect();
        if found.is_some() {
            positions.extend(mounted_over(place, name, mounts));
        }
        Ok(Self {
            chain: place.chain()?,
            entry: found.as_ref().map(FileId::of),
            positions,
            rest,
            text: text.components().collect(),
        })
    }
}

/// Where the entry itself is, which may be mounted from elsewhere.
fn mounted_over(place: &Place, name: &OsStr, mounts: &Mounts) -> Option<Position> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = openat(&place.folder, name, flags, Mode::empty()).ok()?;
    mounts.position(open.as_fd())
}

fn link(place: &Place, name: &OsStr) -> Option<PathBuf> {
    let there = place.rest.is_empty();
    let target = readlinkat(&place.folder, name, Vec::new())
        .ok()
        .filter(|_| there)?;
    Some(PathBuf::from(OsString::from_vec(target.into_bytes())))
}
