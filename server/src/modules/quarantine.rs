//! Remembers on disk which library is being loaded, so that one that takes the server down twice is left out of the
//! third start. Kept beside the database, not in it: the process may be gone before a write is on disk there.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A crash may be chance once.
const CRASHES_MAX: u32 = 2;
const FILE: &str = "modules-loading.json";

/// Loads under way and crashed, by the library's SHA-256.
pub struct Quarantine {
    file: PathBuf,
    counts: Mutex<BTreeMap<String, u32>>,
}

#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    #[error(
        "it took the server down {0} times while it was loaded; it is left out until its file changes"
    )]
    Quarantined(u32),
    #[error("the record of what is being loaded cannot be written: {0}")]
    Record(#[from] std::io::Error),
}

impl Quarantine {
    /// What an earlier run left behind counts as a crash.
    pub fn open(data_dir: &Path) -> Self {
        let file = data_dir.join(FILE);
        // Unreadable is empty: a damaged record must not keep good modules out.
        let counts = std::fs::read(&file)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self {
            file,
            counts: Mutex::new(counts.unwrap_or_default()),
        }
    }

    /// Records, on disk, that this library is about to be loaded. Refuses one that has crashed too often.
    pub fn begin(&self, sha256: &str) -> Result<(), QuarantineError> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let before = counts.get(sha256).copied().unwrap_or_default();
        if before >= CRASHES_MAX {
            return Err(QuarantineError::Quarantined(before));
        }
        counts.insert(sha256.to_owned(), before + 1);
        Ok(write(&self.file, &counts)?)
    }

    /// It came back, loaded or refused.
    pub fn end(&self, sha256: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.remove(sha256);
        if let Err(error) = write(&self.file, &counts) {
            tracing::warn!(%error, "the record of modules being loaded cannot be written");
        }
    }
}

/// Written beside and renamed, so that a crash leaves the old record or the new one.
fn write(file: &Path, counts: &BTreeMap<String, u32>) -> std::io::Result<()> {
    let beside = file.with_extension("new");
    let mut open = std::fs::File::create(&beside)?;
    open.write_all(serde_json::to_string(counts)?.as_bytes())?;
    open.sync_all()?;
    std::fs::rename(&beside, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_crashed_twice_is_left_out_and_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        for _ in 0..2 {
            // A process that never comes back from loading.
            Quarantine::open(folder.path()).begin("bad").expect("tried");
        }
        let third = Quarantine::open(folder.path());
        assert!(matches!(
            third.begin("bad"),
            Err(QuarantineError::Quarantined(2))
        ));
        third.begin("good").expect("tried");
        third.end("good");
        assert!(Quarantine::open(folder.path()).begin("good").is_ok());
    }

    #[test]
    fn a_load_that_comes_back_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let quarantine = Quarantine::open(folder.path());
        for _ in 0..5 {
            quarantine.begin("a").expect("tried");
            quarantine.end("a");
        }
    }
}
