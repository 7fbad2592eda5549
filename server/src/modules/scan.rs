//! Looks into the modules folder: which files are there, which have changed, whether each may be loaded. What is refused
//! is kept with its reason, for people to see.

mod arrive;
mod examine;

use std::path::{Path, PathBuf};

use super::Modules;
use super::book::{Refused, is_used_before};
use super::loader::{self, FileError, Stamp};

/// Looks at every file that has changed since the last time.
pub async fn scan(modules: &Modules) {
    let folder = modules.parts().modules_dir.clone();
    let listed = tokio::task::spawn_blocking(move || list(&folder)).await;
    let found = match listed {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return refuse_folder(modules, error.to_string()),
        Err(error) => return refuse_folder(modules, error.to_string()),
    };
    let (changed, forgotten) = {
        let mut book = modules.book();
        book.folder_problem = None;
        let forgotten = book.forget_gone(&found);
        (book.changed(found), forgotten)
    };
    if changed.is_empty() && !forgotten {
        return;
    }
    let mut candidates = Vec::new();
    for (path, stamp) in changed {
        let trusted = modules.parts().trusted.clone();
        match examine::examine(trusted, path.clone(), stamp.clone()).await {
            Ok(candidate) => candidates.push(candidate),
            Err(refused) => refuse(modules, path, stamp, refused),
        }
    }
    // Of two files of one module the newer comes first, and the older is then refused; of two of one version the one that
    // is used.
    candidates.sort_by(|one, other| {
        let by_version =
            (&one.info.name, &other.info.version).cmp(&(&other.info.name, &one.info.version));
        let used_first = is_used_before(&other.path, &one.path, &one.info.name);
        by_version.then(used_first.cmp(&false))
    });
    for candidate in candidates {
        let (path, stamp) = (candidate.path.clone(), candidate.stamp.clone());
        if let Err(refused) = arrive::arrive(modules, candidate).await {
            refuse(modules, path, stamp, refused);
        }
    }
    modules.rebuild_table();
}

fn list(folder: &Path) -> Result<Vec<(PathBuf, Stamp)>, FileError> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    loader::check_folder(folder)?;
    let unreadable = |source| FileError::Read {
        path: folder.display().to_string(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "so")
            && let Some(stamp) = Stamp::of(&path)
        {
            found.push((path, stamp));
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}

fn refuse_folder(modules: &Modules, reason: String) {
    let before = modules.book().folder_problem.replace(reason.clone());
    if before.as_ref() != Some(&reason) {
        tracing::error!(reason, "the modules folder is not looked into");
    }
}

fn refuse(modules: &Modules, path: PathBuf, stamp: Stamp, refused: Refused) {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    tracing::error!(%file, "module refused: {}", refused.reason);
    modules.book().note_refused(path, stamp, refused);
}
