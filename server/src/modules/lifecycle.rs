//! Starts modules once a licence covers them, takes them out for a newer version, and ends them with the server.

use std::sync::Arc;
use std::time::Duration;

use fleetwright_plugin_api::abi::AbiMigration;

use super::loaded::{HeldRouter, Loaded, Stage};
use super::services::Services;
use super::{Modules, sql_guard, watchdog};
use crate::db::{Dialect, MigrationText};
use crate::licensing::Access;

/// A module's `start` builds a router and spawns loops.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// Requests of a leaving module get this long, as those of a leaving server do.
const DRAIN_DEADLINE: Duration = Duration::from_secs(20);

/// Starts every loaded module of which some feature is, or ever was, licensed.
pub async fn start_licensed(modules: &Modules) {
    for loaded in modules.loaded() {
        if loaded.stage() != Stage::Waiting || !is_covered(modules, &loaded) {
            continue;
        }
        loaded.enter(Stage::Starting);
        let name = &loaded.info.name;
        let started = match modules.registry.quarantine.begin(&loaded.sha256) {
            Ok(()) => {
                let started = start(modules, &loaded).await;
                modules.registry.quarantine.end(&loaded.sha256);
                started
            }
            Err(error) => Err(error.to_string()),
        };
        match started {
            Ok(()) => {
                loaded.enter(Stage::Running);
                tracing::info!("module {name} {} runs", loaded.info.version);
            }
            Err(reason) => {
                tracing::error!("module {name} does not start: {reason}");
                loaded.fail(reason);
            }
        }
    }
}

/// Ends the loops of a module that a newer one replaces and waits for its requests. Its routes answer 503 meanwhile.
pub async fn retire(modules: &Modules, loaded: &Arc<Loaded>) {
    let was_running = loaded.stage() == Stage::Running;
    loaded.enter(Stage::Leaving);
    modules
        .retired()
        .push((loaded.info.name.clone(), loaded.activity.clone()));
    if was_running {
        end(modules, loaded).await;
    }
}

/// Ends every module's loops.
pub async fn shut_down(modules: &Modules) {
    let running: Vec<Arc<Loaded>> = modules
        .loaded()
        .into_iter()
        .filter(|loaded| loaded.stage() == Stage::Running)
        .collect();
    for loaded in &running {
        loaded.enter(Stage::Leaving);
    }
    futures_util::future::join_all(running.iter().map(|loaded| end(modules, loaded))).await;
}

async fn end(modules: &Modules, loaded: &Loaded) {
    loaded.streams.cancel();
    if let Some(router) = loaded.router() {
        let deadline_ms = u64::try_from(DRAIN_DEADLINE.as_millis()).unwrap_or(u64::MAX);
        let ending = loaded.activity.watch(router.shutdown(deadline_ms));
        let ended =
            tokio::time::timeout(DRAIN_DEADLINE, modules.registry.runtime.spawn(ending)).await;
        if ended.is_err() {
            tracing::warn!("module {} does not end its loops", loaded.info.name);
            watchdog::look(modules);
        }
    }
    if tokio::time::timeout(DRAIN_DEADLINE, loaded.activity.drained())
        .await
        .is_err()
    {
        tracing::warn!(
            "module {} leaves with requests unanswered",
            loaded.info.name
        );
    }
}

fn is_covered(modules: &Modules, loaded: &Loaded) -> bool {
    let licensing = &modules.parts().licensing;
    loaded.info.features.iter().any(|feature| {
        match licensing.access(feature, loaded.licensable()) {
            Access::Full | Access::ContinueOnly(_) => true,
            Access::Nothing(_) => false,
        }
    })
}

async fn start(modules: &Modules, loaded: &Arc<Loaded>) -> Result<(), String> {
    migrate(modules, loaded).await?;
    let router = make_router(modules, loaded).await?;
    let starting = modules
        .registry
        .runtime
        .spawn(loaded.activity.watch(router.start()));
    match tokio::time::timeout(START_DEADLINE, starting).await {
        Ok(Ok(started)) => started
            .into_result()
            .map_err(|error| error.message.to_string())?,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => {
            // At once, not at the watchdog's next look: the next module to start needs a thread, and while the server
            // starts nobody looks.
            watchdog::look(modules);
            return Err("it did not come back from start within 30 s".to_owned());
        }
    }
    loaded.set_router(router);
    Ok(())
}

async fn migrate(modules: &Modules, loaded: &Arc<Loaded>) -> Result<(), String> {
    let module = Arc::clone(loaded);
    let listing = tokio::task::spawn_blocking(move || module.library.migrations());
    let listed = tokio::time::timeout(START_DEADLINE, listing).await;
    let list = match listed {
        Ok(Ok(list)) => list.map_err(|error| error.to_string())?,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err("it did not list its migrations within 30 s".to_owned()),
    };
    let db = &modules.parts().db;
    let name = &loaded.info.name;
    let texts = migration_texts(&list, name, loaded.info.migrations, db.dialect())?;
    // Without any too: the database is to know the module before its first statement.
    db.migrate_guest(&db.guest(name), texts)
        .await
        .map_err(|error| format!("its migrations do not run: {error}"))
}

/// The texts for this database, if the list is what the module declared and touches its own tables only.
fn migration_texts(
    list: &[AbiMigration],
    module: &str,
    declared: u32,
    dialect: Dialect,
) -> Result<Vec<MigrationText>, String> {
    if list.len() != declared as usize
        || !list
            .iter()
            .zip(1..)
            .all(|(migration, number)| migration.version == number)
    {
        return Err(format!("it declares {declared} migrations and has others"));
    }
    list.iter()
        .map(|migration| {
            let sql = match dialect {
                Dialect::Sqlite => &migration.sqlite,
                Dialect::Postgres => &migration.postgres,
            };
            sql_guard::check_migration(sql, module)
                .map_err(|refusal| format!("migration {}: {refusal}", migration.version))?;
            Ok(MigrationText {
                version: i64::from(migration.version),
                name: migration.name.to_string().into(),
                sql: sql.to_string().into(),
            })
        })
        .collect()
}

async fn make_router(modules: &Modules, loaded: &Arc<Loaded>) -> Result<Arc<HeldRouter>, String> {
    let host = Services::new(modules.clone(), loaded.licensable()).into_iface();
    let library = loaded.library;
    let making = tokio::task::spawn_blocking(move || library.router(host));
    let hold = |router| {
        let (activity, runtime) = (loaded.activity.clone(), modules.registry.runtime.clone());
        Arc::new(HeldRouter::new(router, activity, runtime))
    };
    match tokio::time::timeout(START_DEADLINE, making).await {
        Ok(Ok(made)) => made.map(hold).map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it did not come back from get_fleet_router within 30 s".to_owned()),
    }
}
