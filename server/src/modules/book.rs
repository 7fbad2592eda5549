//! What is known of the files in the modules folder: what became of each, and which of two is used. Pure; the folder
//! itself is looked at in `scan`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fleetwright_plugin_api::info::ModuleInfo;

use super::loaded::Loaded;
use super::loader::Stamp;

#[derive(Default)]
pub struct Book {
    files: BTreeMap<PathBuf, FileEntry>,
    /// Why the folder is not looked into.
    pub folder_problem: Option<String>,
}

struct FileEntry {
    /// None while the file is gone but its module still runs.
    stamp: Option<Stamp>,
    outcome: Outcome,
}

#[derive(Clone)]
pub enum Outcome {
    Refused(Refused),
    Loaded(Arc<Loaded>),
}

/// A file that is not a module here, and why.
#[derive(Clone, Debug, Default)]
pub struct Refused {
    pub reason: String,
    /// What it says of itself; only to be believed if `signed`.
    pub info: Option<Box<ModuleInfo>>,
    /// The name it gives itself, where that much can be read. Anybody who may put files there may claim one.
    pub claimed_name: Option<String>,
    pub signed: bool,
    /// Another file of the same module in the same version, which is used instead.
    pub passed_over_for: Option<PathBuf>,
}

impl Book {
    /// Every file, by name.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &Outcome)> {
        let files = self.files.iter();
        files.map(|(path, entry)| (path.as_path(), &entry.outcome))
    }

    pub fn loaded(&self) -> impl Iterator<Item = &Arc<Loaded>> {
        self.files().filter_map(|(_, outcome)| match outcome {
            Outcome::Loaded(loaded) => Some(loaded),
            Outcome::Refused(_) => None,
        })
    }

    pub fn refused(&self) -> impl Iterator<Item = (&Path, &Refused)> {
        self.files().filter_map(|(path, outcome)| match outcome {
            Outcome::Refused(refused) => Some((path, refused)),
            Outcome::Loaded(_) => None,
        })
    }

    /// Whether a file that means to be this module is there and was refused: by its own name or by the one inside it. A
    /// name is believed here without a signature, for nothing follows from it but the word `module_failed` where
    /// `module_not_installed` would send the operator looking for a file that is there; the folder is writable by root
    /// and the server's own user alone. Routes are never taken from such a file.
    pub fn has_refused(&self, module: &str) -> bool {
        self.refused().any(|(path, refused)| {
            path.file_stem().is_some_and(|stem| stem == module)
                || refused.claimed_name.as_deref() == Some(module)
        })
    }

    /// The file this module is loaded from, while it is there.
    pub fn file_of(&self, loaded: &Arc<Loaded>) -> Option<PathBuf> {
        let mut files = self.files.iter();
        let found = files.find(|(_, entry)| entry.stamp.is_some() && entry.holds(loaded));
        found.map(|(path, _)| path.clone())
    }

    /// A refused file that is gone is forgotten; a loaded module goes on without its file. Whether any was forgotten.
    pub fn forget_gone(&mut self, found: &[(PathBuf, Stamp)]) -> bool {
        let before = self.files.len();
        self.files.retain(|path, entry| {
            let is_there = found.iter().any(|(there, _)| there == path);
            if !is_there {
                entry.stamp = None;
            }
            is_there || matches!(entry.outcome, Outcome::Loaded(_))
        });
        self.files.len() < before
    }

    /// Those of the files found that must be looked at: what is not as it was, and what was passed over for a file that
    /// is not as it was or not there.
    pub fn changed(&self, found: Vec<(PathBuf, Stamp)>) -> Vec<(PathBuf, Stamp)> {
        let is_known = |path: &Path, stamp: &Stamp| {
            let entry = self.files.get(path);
            entry.is_some_and(|entry| entry.stamp.as_ref() == Some(stamp))
        };
        let stands = |path: &Path| {
            let mut there = found.iter().filter(|(there, _)| there == path);
            there.any(|(path, stamp)| is_known(path, stamp))
        };
        let must_be = |(path, stamp): &&(PathBuf, Stamp)| {
            let other = self.files.get(path).and_then(FileEntry::passed_over_for);
            !is_known(path, stamp) || other.is_some_and(|other| !stands(other))
        };
        found.iter().filter(must_be).cloned().collect()
    }

    pub fn note_refused(&mut self, path: PathBuf, stamp: Stamp, refused: Refused) {
        // The file of a loaded module was overwritten with something else: the module stays, under a name of its own in
        // the book, so that both can be seen.
        let running = |entry: &FileEntry| matches!(entry.outcome, Outcome::Loaded(_));
        if self.files.get(&path).is_some_and(running)
            && let Some(entry) = self.files.remove(&path)
        {
            let mut kept = path.clone().into_os_string();
            kept.push(" (loaded)");
            let entry = FileEntry {
                stamp: None,
                ..entry
            };
            self.files.insert(PathBuf::from(kept), entry);
        }
        let entry = FileEntry {
            stamp: Some(stamp),
            outcome: Outcome::Refused(refused),
        };
        self.files.insert(path, entry);
    }

    /// The module is loaded from this file, and no longer from another. What it replaces is no longer of any file.
    pub fn note_loaded(
        &mut self,
        path: PathBuf,
        stamp: Stamp,
        loaded: Arc<Loaded>,
        replaced: Option<&Arc<Loaded>>,
    ) {
        let is_out = |entry: &FileEntry| {
            entry.holds(&loaded) || replaced.is_some_and(|replaced| entry.holds(replaced))
        };
        self.files.retain(|_, entry| !is_out(entry));
        let entry = FileEntry {
            stamp: Some(stamp),
            outcome: Outcome::Loaded(loaded),
        };
        self.files.insert(path, entry);
    }
}

impl FileEntry {
    fn holds(&self, loaded: &Arc<Loaded>) -> bool {
        match &self.outcome {
            Outcome::Loaded(other) => Arc::ptr_eq(other, loaded),
            Outcome::Refused(_) => false,
        }
    }

    fn passed_over_for(&self) -> Option<&Path> {
        match &self.outcome {
            Outcome::Refused(refused) => refused.passed_over_for.as_deref(),
            Outcome::Loaded(_) => None,
        }
    }
}

/// Of two files of one module in one version, whether the first is the one to use: the one that bears the module's name,
/// else the first by name. The same whichever came first and after every restart, so that the two never take turns.
pub fn is_used_before(one: &Path, other: &Path, module: &str) -> bool {
    let rank = |path: &Path| {
        let is_named = path.file_stem().is_some_and(|stem| stem == module);
        (!is_named, path.to_owned())
    };
    rank(one) < rank(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, name: &str, text: &str) -> (PathBuf, Stamp) {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("written");
        let stamp = Stamp::of(&path).expect("there");
        (path, stamp)
    }

    fn refused(reason: &str) -> Refused {
        Refused {
            reason: reason.to_owned(),
            ..Refused::default()
        }
    }

    #[test]
    fn the_file_that_bears_the_modules_name_is_used_else_the_first() {
        let before = |one: &str, other: &str| {
            let (one, other) = (Path::new(one), Path::new(other));
            let (forth, back) = (
                is_used_before(one, other, "bulk"),
                is_used_before(other, one, "bulk"),
            );
            assert_ne!(forth, back, "exactly one of them");
            forth
        };
        // By name alone the hyphen comes before the dot.
        assert!(before("/m/bulk.so", "/m/bulk-copy.so"));
        assert!(before("/m/bulk.so", "/m/a.so"));
        assert!(before("/m/a.so", "/m/bulk-copy.so"));
    }

    #[test]
    fn what_was_passed_over_is_looked_at_again_when_the_other_changes_or_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (used, copy) = (
            file(folder.path(), "bulk.so", "1"),
            file(folder.path(), "copy.so", "1"),
        );
        let mut book = Book::default();
        // What stands for the loaded one here is any file of which all is known.
        book.note_refused(used.0.clone(), used.1.clone(), refused("x"));
        let passed_over = Refused {
            passed_over_for: Some(used.0.clone()),
            ..refused("twice")
        };
        book.note_refused(copy.0.clone(), copy.1.clone(), passed_over);
        let both = vec![used.clone(), copy.clone()];
        assert!(book.changed(both).is_empty(), "they do not take turns");
        let other = file(folder.path(), "bulk.so", "22");
        let changed = book.changed(vec![other, copy.clone()]);
        assert_eq!(changed.len(), 2, "the other is another");
        assert!(book.forget_gone(std::slice::from_ref(&copy)));
        assert_eq!(book.changed(vec![copy]).len(), 1, "the other is gone");
    }

    #[test]
    fn a_refused_file_is_known_by_its_name_or_by_the_name_inside() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut book = Book::default();
        let (path, stamp) = file(folder.path(), "bulk.so", "x");
        book.note_refused(path, stamp, refused("not an ELF"));
        let (path, stamp) = file(folder.path(), "other.so", "x");
        let claims = Refused {
            claimed_name: Some("rolling".to_owned()),
            ..refused("unsigned")
        };
        book.note_refused(path, stamp, claims);
        let known = ["bulk", "rolling", "other"].map(|name| book.has_refused(name));
        assert_eq!(known, [true, true, true]);
        assert!(!book.has_refused("groups"));
    }
}
