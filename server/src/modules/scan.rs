//! Looks into the modules folder: which files are there, which have changed, whether each may be loaded. What is refused
//! is kept with its reason, for people to see.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fleetwright_plugin_api::MODULE_API_VERSION;
use fleetwright_plugin_api::abi::ABI_EPOCH;
use fleetwright_plugin_api::info::{ModuleInfo, RouteDeclaration};
use semver::Version;

use super::loaded::{Loaded, Stage};
use super::loader::{self, FileError, Library, LibraryFile, LoadError, Stamp};
use super::{
    Book, FileEntry, Modules, Outcome, Provider, Refused, lifecycle, routes, store, stubs,
};
use crate::licensing::TrustedKeys;

/// Loading maps a file and runs its constructors, after a child did the same; one that takes longer will not come back.
const LOAD_DEADLINE: Duration = Duration::from_secs(60);

/// A file that may be loaded: signed by a trusted vendor, for this server.
struct Candidate {
    path: PathBuf,
    stamp: Stamp,
    info: ModuleInfo,
    sha256: String,
    bytes: Vec<u8>,
}

/// Looks at every file that has changed since the last time.
pub async fn scan(modules: &Modules) {
    let folder = modules.parts().modules_dir.clone();
    let listed = tokio::task::spawn_blocking(move || list(&folder)).await;
    let found = match listed {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return refuse_folder(modules, error.to_string()),
        Err(error) => return refuse_folder(modules, error.to_string()),
    };
    modules.book().folder_problem = None;
    forget_gone(&mut modules.book(), &found);
    let changed: Vec<(PathBuf, Stamp)> = {
        let book = modules.book();
        let is_new = |(path, stamp): &(PathBuf, Stamp)| {
            book.files
                .get(path)
                .is_none_or(|entry| entry.stamp.as_ref() != Some(stamp))
        };
        found.into_iter().filter(is_new).collect()
    };
    if changed.is_empty() {
        return;
    }
    let mut candidates = Vec::new();
    for (path, stamp) in changed {
        match examine(modules, path.clone(), stamp.clone()).await {
            Ok(candidate) => candidates.push(candidate),
            Err(refused) => note_refused(modules, path, stamp, refused),
        }
    }
    // Of two files of one module the newer comes first, and the older is then refused.
    candidates.sort_by(|one, other| {
        (&one.info.name, &other.info.version).cmp(&(&other.info.name, &one.info.version))
    });
    for candidate in candidates {
        let (path, stamp) = (candidate.path.clone(), candidate.stamp.clone());
        if let Err(refused) = admit(modules, candidate).await {
            note_refused(modules, path, stamp, refused);
        }
    }
    rebuild_table(modules);
}

/// Puts the table together from the stubs and from what is in the book.
pub fn rebuild_table(modules: &Modules) {
    let table = routes::RouteTable::build(providers(&modules.book()));
    modules.inner.table.store(Arc::new(table));
}

/// Every route and where it leads, as far as the book knows: stubs first, what is there over them.
fn providers(book: &Book) -> Vec<(RouteDeclaration, Provider)> {
    let outcomes = || book.files.values().map(|entry| &entry.outcome);
    let refused_names: Vec<String> = outcomes()
        .filter_map(|outcome| match outcome {
            Outcome::Refused(refused) => refused.info.as_ref().map(|info| info.name.clone()),
            Outcome::Loaded(_) => None,
        })
        .collect();
    let stubs = stubs::all().into_iter().map(|stub| {
        let failed = refused_names.iter().any(|name| name == stub.module);
        let provider = if failed {
            Provider::Failed(stub.module.to_owned())
        } else {
            Provider::Absent(stub.module)
        };
        (stub.route, provider)
    });
    // A signed module that does not load has routes of its own; an unsigned one may claim nothing.
    let failed = outcomes().filter_map(|outcome| match outcome {
        Outcome::Refused(Refused {
            info: Some(info),
            signed: true,
            ..
        }) => Some(info),
        Outcome::Refused(_) | Outcome::Loaded(_) => None,
    });
    let failed = failed.flat_map(|info| {
        let provider = Provider::Failed(info.name.clone());
        info.routes
            .clone()
            .into_iter()
            .map(move |route| (route, provider.clone()))
    });
    let loaded = outcomes().filter_map(|outcome| match outcome {
        Outcome::Loaded(loaded) => Some(loaded),
        Outcome::Refused(_) => None,
    });
    let loaded = loaded.flat_map(|loaded| {
        let routes = loaded.info.routes.clone().into_iter();
        routes.map(|route| (route, Provider::Loaded(Arc::clone(loaded))))
    });
    stubs.chain(failed).chain(loaded).collect()
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

/// A refused file that is gone is forgotten; a loaded module goes on without its file.
fn forget_gone(book: &mut Book, found: &[(PathBuf, Stamp)]) {
    book.files.retain(|path, entry| {
        let is_there = found.iter().any(|(there, _)| there == path);
        if !is_there {
            entry.stamp = None;
        }
        is_there || matches!(entry.outcome, Outcome::Loaded(_))
    });
}

fn note_refused(modules: &Modules, path: PathBuf, stamp: Stamp, refused: Refused) {
    let file = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    tracing::error!(file, "module refused: {}", refused.reason);
    let mut book = modules.book();
    let running = book
        .files
        .get(&path)
        .is_some_and(|entry| matches!(entry.outcome, Outcome::Loaded(_)));
    if running {
        // The file of a loaded module was overwritten with something else: the module stays, under a name of its own
        // in the book, so that both can be seen.
        if let Some(entry) = book.files.remove(&path) {
            let mut kept = path.clone().into_os_string();
            kept.push(" (loaded)");
            book.files.insert(
                PathBuf::from(kept),
                FileEntry {
                    stamp: None,
                    ..entry
                },
            );
        }
    }
    book.files.insert(
        path,
        FileEntry {
            stamp: Some(stamp),
            outcome: Outcome::Refused(refused),
        },
    );
}

/// Everything that can be said of a file without running any of it.
async fn examine(modules: &Modules, path: PathBuf, stamp: Stamp) -> Result<Candidate, Refused> {
    let trusted = modules.parts().trusted.clone();
    let examined = tokio::task::spawn_blocking(move || examine_file(&trusted, path, stamp)).await;
    examined.unwrap_or_else(|error| {
        Err(Refused {
            reason: error.to_string(),
            info: None,
            signed: false,
        })
    })
}

fn examine_file(trusted: &TrustedKeys, path: PathBuf, stamp: Stamp) -> Result<Candidate, Refused> {
    let refuse = |reason: String, info: Option<&ModuleInfo>, signed| Refused {
        reason,
        info: info.cloned().map(Box::new),
        signed,
    };
    let file = LibraryFile::read(&path).map_err(|error| refuse(error.to_string(), None, false))?;
    // Of a file that is cut off, or for another machine, that is what to say, not that its signature is wrong.
    let declared = fleetwright_signing::read_info(&file.bytes)
        .map_err(|error| refuse(error.to_string(), None, false))?;
    let info = ModuleInfo::parse(declared).map_err(|error| error.to_string());
    let said = info.as_ref().ok();
    let verified = fleetwright_signing::verify_module(
        &trusted.keys,
        trusted.allow_development,
        &file.bytes,
        &file.signature,
    );
    let (statement, _) = verified.map_err(|error| refuse(error.to_string(), said, false))?;
    let info = info.map_err(|reason| refuse(reason, None, true))?;
    if info.abi != ABI_EPOCH {
        let wrong = LoadError::Epoch {
            found: info.abi,
            expected: ABI_EPOCH,
        };
        return Err(refuse(wrong.to_string(), Some(&info), true));
    }
    let version = Version::parse(MODULE_API_VERSION)
        .map_err(|error| refuse(error.to_string(), None, true))?;
    if let Err(error) = info.check_host_api(&version) {
        return Err(refuse(error.to_string(), Some(&info), true));
    }
    Ok(Candidate {
        path,
        stamp,
        info,
        sha256: statement.sha256,
        bytes: file.bytes,
    })
}

/// Loads a candidate, in place of an older version if there is one.
async fn admit(modules: &Modules, candidate: Candidate) -> Result<(), Refused> {
    let refuse = |reason: String| Refused {
        reason,
        info: Some(Box::new(candidate.info.clone())),
        signed: true,
    };
    let present = modules.find(&candidate.info.name);
    if let Some(present) = &present {
        if present.sha256 == candidate.sha256 && present.stage() != Stage::Failed {
            move_file(modules, present, candidate.path, candidate.stamp);
            return Ok(());
        }
        if candidate.info.version < present.info.version {
            let reason = format!("version {} is loaded, which is newer", present.info.version);
            return Err(refuse(reason));
        }
    }
    check_downgrade(modules, &candidate).await.map_err(refuse)?;
    let others = modules.loaded();
    let others = others
        .iter()
        .map(|loaded| &loaded.info)
        .filter(|info| info.name != candidate.info.name);
    if let Err(collision) = routes::check_collisions(&candidate.info, &stubs::all(), others) {
        // Its routes are another's, so nothing of it is mounted.
        return Err(Refused {
            signed: false,
            ..refuse(collision.to_string())
        });
    }
    let library = load(modules, &candidate).await.map_err(refuse)?;
    let clock = modules.parts().clock.clone();
    let loaded = Arc::new(Loaded::new(
        candidate.info.clone(),
        candidate.sha256.clone(),
        library,
        clock,
    ));
    let (name, version) = (&loaded.info.name, &loaded.info.version);
    let now_us = modules.parts().clock.now_us();
    if let Err(error) =
        store::record(&modules.parts().db, now_us, name, version, &loaded.sha256).await
    {
        tracing::warn!(%error, name, "the module's version could not be recorded");
    }
    tracing::info!(
        "module {name} {version} loaded ({})",
        loaded.info.features.join(", ")
    );
    if let Some(present) = present {
        lifecycle::retire(modules, &present).await;
        modules
            .book()
            .files
            .retain(|_, entry| match &entry.outcome {
                Outcome::Loaded(other) => !Arc::ptr_eq(other, &present),
                Outcome::Refused(_) => true,
            });
    }
    let entry = FileEntry {
        stamp: Some(candidate.stamp),
        outcome: Outcome::Loaded(loaded),
    };
    modules.book().files.insert(candidate.path, entry);
    Ok(())
}

/// The same library under another name, or touched: nothing to load.
fn move_file(modules: &Modules, present: &Arc<Loaded>, path: PathBuf, stamp: Stamp) {
    let mut book = modules.book();
    book.files.retain(|_, entry| match &entry.outcome {
        Outcome::Loaded(other) => !Arc::ptr_eq(other, present),
        Outcome::Refused(_) => true,
    });
    book.files.insert(
        path,
        FileEntry {
            stamp: Some(stamp),
            outcome: Outcome::Loaded(Arc::clone(present)),
        },
    );
}

async fn check_downgrade(modules: &Modules, candidate: &Candidate) -> Result<(), String> {
    let newest = store::newest_version(&modules.parts().db, &candidate.info.name).await;
    match newest.map_err(|error| error.to_string())? {
        Some(newest) if newest > candidate.info.version => Err(format!(
            "version {newest} has been installed here, which is newer"
        )),
        Some(_) | None => Ok(()),
    }
}

async fn load(modules: &Modules, candidate: &Candidate) -> Result<Library, String> {
    let quarantine = &modules.inner.quarantine;
    quarantine
        .begin(&candidate.sha256)
        .map_err(|error| error.to_string())?;
    let sealed = loader::seal(&candidate.bytes).map_err(|error| error.to_string());
    let info = fleetwright_signing::read_info(&candidate.bytes)
        .map(<[u8]>::to_vec)
        .map_err(|error| error.to_string());
    let opening = async {
        let (sealed, info) = (sealed?, info?);
        let opening = tokio::task::spawn_blocking(move || {
            if let Some(program) = loader::probe::program() {
                loader::probe::try_in_child(program, &sealed)?;
            }
            Library::open(sealed, &info).map_err(|error| {
                if let LoadError::Layout { report, .. } = &error {
                    tracing::debug!(report, "the layout checker's report");
                }
                error.to_string()
            })
        });
        match tokio::time::timeout(LOAD_DEADLINE, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it did not come back from loading within a minute".to_owned()),
        }
    };
    let opened = opening.await;
    quarantine.end(&candidate.sha256);
    opened
}
