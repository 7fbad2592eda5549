//! A file that may be loaded arrives: it is loaded, in place of an older version if there is one, or passed over for another
//! file of the same module.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fleetwright_plugin_api::product;

use super::super::book::{Refused, is_used_before};
use super::super::loaded::{Loaded, Stage};
use super::super::loader::{self, Library, LoadError};
use super::super::{Modules, lifecycle, routes, store};
use super::examine::Candidate;
use crate::db::core_table_named_like;

/// Loading maps a file and runs its constructors, after a child did the same; one that takes longer will not come back.
const LOAD_DEADLINE: Duration = Duration::from_secs(60);

/// Loads a candidate.
pub async fn arrive(modules: &Modules, candidate: Candidate) -> Result<(), Refused> {
    let refuse = |reason: String| Refused {
        reason,
        info: Some(Box::new(candidate.info.clone())),
        claimed_name: Some(candidate.info.name.clone()),
        signed: true,
        passed_over_for: None,
    };
    let present = modules.find(&candidate.info.name);
    if let Some(present) = &present {
        if let Some(used) = used_instead(modules, present, &candidate) {
            let file = used.file_name().unwrap_or_default().to_string_lossy();
            let (name, version) = (&present.info.name, &present.info.version);
            let reason = format!("{file} is {name} {version} too and is the one that is used");
            return Err(Refused {
                passed_over_for: Some(used.clone()),
                ..refuse(reason)
            });
        }
        if present.sha256 == candidate.sha256 && present.stage() != Stage::Failed {
            // The same library under another name, or touched: nothing to load.
            let same = Arc::clone(present);
            let mut book = modules.book();
            book.note_loaded(candidate.path, candidate.stamp, same, None);
            return Ok(());
        }
        if candidate.info.version < present.info.version {
            let reason = format!("version {} is loaded, which is newer", present.info.version);
            return Err(refuse(reason));
        }
    }
    check_names(modules, &candidate).await.map_err(refuse)?;
    check_downgrade(modules, &candidate).await.map_err(refuse)?;
    let others = modules.loaded();
    let others = others
        .iter()
        .map(|loaded| &loaded.info)
        .filter(|info| info.name != candidate.info.name);
    let collision = routes::check_collisions(&candidate.info, product::declarations(), others);
    if let Err(collision) = collision {
        // Its routes are another's, so nothing of it is mounted.
        return Err(Refused {
            signed: false,
            ..refuse(collision.to_string())
        });
    }
    let library = load(modules, &candidate).await.map_err(refuse)?;
    enter(modules, candidate, library, present).await;
    Ok(())
}

/// Puts what was loaded into the book, once what it replaces has left.
async fn enter(
    modules: &Modules,
    candidate: Candidate,
    library: Library,
    present: Option<Arc<Loaded>>,
) {
    let clock = modules.parts().clock.clone();
    let now_us = clock.now_us();
    let Candidate {
        info,
        sha256,
        signer,
        ..
    } = candidate;
    let loaded = Arc::new(Loaded::new(info, sha256, signer, library, clock));
    let (name, version) = (&loaded.info.name, &loaded.info.version);
    if let Err(error) =
        store::record(&modules.parts().db, now_us, name, version, &loaded.sha256).await
    {
        tracing::warn!(%error, name, "the module's version could not be recorded");
    }
    tracing::info!(
        "module {name} {version} loaded ({})",
        loaded.info.features.join(", ")
    );
    if let Some(present) = &present {
        lifecycle::retire(modules, present).await;
    }
    let mut book = modules.book();
    book.note_loaded(candidate.path, candidate.stamp, loaded, present.as_ref());
}

/// Another file, of the same module in the same version, that is loaded and goes before this one. Without it two such
/// files would take turns, each loaded in the other's place for ever.
fn used_instead(
    modules: &Modules,
    present: &Arc<Loaded>,
    candidate: &Candidate,
) -> Option<PathBuf> {
    if candidate.info.version != present.info.version {
        return None;
    }
    let used = modules.book().file_of(present)?;
    let name = &candidate.info.name;
    let goes_before = used != candidate.path && !is_used_before(&candidate.path, &used, name);
    goes_before.then_some(used)
}

/// Against those that are loaded and those that ever were: their tables are still there.
async fn check_names(modules: &Modules, candidate: &Candidate) -> Result<(), String> {
    let installed = store::installed(&modules.parts().db).await;
    let mut names = installed.map_err(|error| error.to_string())?;
    let loaded = modules.loaded();
    names.extend(loaded.iter().map(|loaded| loaded.info.name.clone()));
    check_name(&candidate.info.name, names.iter().map(String::as_str))
}

/// A module's tables bear its name: it must not be what names of others begin with.
fn check_name<'a>(name: &str, others: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
    if let Some(table) = core_table_named_like(name) {
        return Err(format!(
            "its name is the beginning of the server's table `{table}`"
        ));
    }
    let is_beginning = |short: &str, long: &str| {
        long.strip_prefix(short)
            .is_some_and(|rest| rest.starts_with('_'))
    };
    let mut others = others.into_iter();
    match others.find(|other| is_beginning(name, other) || is_beginning(other, name)) {
        Some(other) => Err(format!(
            "its tables and those of the module {other} could not be told apart"
        )),
        None => Ok(()),
    }
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
    let quarantine = &modules.registry.quarantine;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_named_like_the_beginning_of_others_tables_is_refused() {
        let check = |name: &str| check_name(name, ["bulk", "rolling_next"]);
        for name in ["bulk", "groups", "rolling_nexter", "bulky"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        for name in ["host", "api", "bulk_x", "rolling"] {
            assert!(check(name).is_err(), "{name}");
        }
    }
}
