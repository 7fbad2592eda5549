//! Pro modules: finding them, checking them, loading them, and leading requests to them. In a community server this is
//! the table of routes that answer 402.
//!
//! `scan` finds and checks files, `loader` loads them, `lifecycle` starts and replaces, `routes` and `stubs` say which
//! route leads where, `dispatch` calls into a module, `watchdog` looks after it, `services` are what it gets of us.

mod activity;
mod dispatch;
pub mod http;
mod lifecycle;
mod loaded;
pub mod loader;
pub mod openapi;
mod quarantine;
pub mod routes;
mod runtime;
mod scan;
pub mod services;
pub mod sql_guard;
mod store;
pub mod stubs;
pub mod testing;
pub mod view;
mod watchdog;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use fleetwright_plugin_api::info::ModuleInfo;
use fleetwright_plugin_api::wire::CallContext;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::commands::Commands;
use crate::db::Db;
use crate::events::Signals;
use crate::hosts::Hosts;
use crate::http::idempotency::Idempotency;
use crate::licensing::{LICENSE_SIGNAL, Licensing, TrustedKeys};

use activity::Activity;
use loaded::Loaded;
use quarantine::Quarantine;
use routes::RouteTable;
use runtime::ModuleRuntime;

/// How soon a dropped file is picked up.
const SCAN_EVERY: Duration = Duration::from_secs(1);

/// What modules need of the rest of the server.
pub struct ModulesParts {
    pub modules_dir: PathBuf,
    pub data_dir: PathBuf,
    pub trusted: TrustedKeys,
    pub clock: SharedClock,
    pub db: Db,
    pub signals: Signals,
    pub hosts: Hosts,
    pub commands: Commands,
    pub idempotency: Idempotency,
    pub licensing: Licensing,
}

/// A handle on the modules; cheap to clone.
#[derive(Clone)]
pub struct Modules {
    inner: Arc<Inner>,
}

/// Serves a request of a module with the checks every request gets, as the identity given.
pub type InProcess = Arc<
    dyn Fn(::http::Request<Bytes>, CallContext) -> BoxFuture<'static, ::http::Response<Bytes>>
        + Send
        + Sync,
>;

struct Inner {
    parts: ModulesParts,
    runtime: ModuleRuntime,
    quarantine: Quarantine,
    table: ArcSwap<RouteTable<Provider>>,
    book: Mutex<Book>,
    /// Replaced modules that are not idle yet, by name; under watch until they are.
    retired: Mutex<Vec<(String, Activity)>>,
    /// One scan, start or replacement at a time.
    turn: tokio::sync::Mutex<()>,
    in_process: OnceLock<InProcess>,
}

/// What is known of the files in the modules folder.
#[derive(Default)]
struct Book {
    files: BTreeMap<PathBuf, FileEntry>,
    /// Why the folder is not looked into.
    folder_problem: Option<String>,
}

struct FileEntry {
    /// None while the file is gone but its module still runs.
    stamp: Option<loader::Stamp>,
    outcome: Outcome,
}

#[derive(Clone)]
enum Outcome {
    Refused(Refused),
    Loaded(Arc<Loaded>),
}

/// A file that is not a module here, and why.
#[derive(Clone, Debug)]
struct Refused {
    reason: String,
    /// What it says of itself; only to be believed if `signed`.
    info: Option<Box<ModuleInfo>>,
    signed: bool,
}

/// Where a route leads.
#[derive(Clone)]
enum Provider {
    /// The product has such a module, this server has not.
    Absent(&'static str),
    /// It is here and does not work.
    Failed(String),
    Loaded(Arc<Loaded>),
}

impl Modules {
    /// Looks into the folder for the first time and starts what is licensed, so that a server that is ready has its
    /// modules. Starts no loop; see [`Modules::run`].
    pub async fn load(parts: ModulesParts) -> std::io::Result<Self> {
        let inner = Inner {
            runtime: ModuleRuntime::start()?,
            quarantine: Quarantine::open(&parts.data_dir),
            parts,
            table: ArcSwap::from_pointee(RouteTable::build([])),
            book: Mutex::default(),
            retired: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
            in_process: OnceLock::new(),
        };
        let modules = Self {
            inner: Arc::new(inner),
        };
        modules.rebuild_table();
        modules.rescan().await;
        Ok(modules)
    }

    /// Watches the folder, the licence and the modules' health until shutdown, then ends the modules' loops.
    pub async fn run(self, shutdown: CancellationToken) {
        let watchdog = tokio::spawn(watchdog::run(self.clone(), shutdown.clone()));
        let mut every = tokio::time::interval(SCAN_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let keys = [LICENSE_SIGNAL.to_owned()];
        let mut seen = self.parts().signals.current();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = every.tick() => {}
                generation = self.parts().signals.wait(&keys, seen) => seen = generation,
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.rescan() => {}
            }
        }
        lifecycle::shut_down(&self).await;
        let _ = watchdog.await;
    }

    /// Looks at what has changed in the folder and in the licence, and acts on it before it answers.
    pub async fn rescan(&self) {
        let _turn = self.inner.turn.lock().await;
        scan::scan(self).await;
        lifecycle::start_licensed(self).await;
    }

    /// Lets modules call the server's routes in process. Set once, when the router is put together.
    pub fn set_in_process(&self, serve: InProcess) {
        let _ = self.inner.in_process.set(serve);
    }

    fn parts(&self) -> &ModulesParts {
        &self.inner.parts
    }

    fn table(&self) -> arc_swap::Guard<Arc<RouteTable<Provider>>> {
        self.inner.table.load()
    }

    /// Nothing panics while it holds the lock.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.inner
            .book
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing panics while it holds the lock.
    fn retired(&self) -> MutexGuard<'_, Vec<(String, Activity)>> {
        self.inner
            .retired
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The present version of every loaded module.
    fn loaded(&self) -> Vec<Arc<Loaded>> {
        let book = self.book();
        let all = book
            .files
            .values()
            .filter_map(|entry| match &entry.outcome {
                Outcome::Loaded(loaded) => Some(Arc::clone(loaded)),
                Outcome::Refused(_) => None,
            });
        all.collect()
    }

    fn find(&self, name: &str) -> Option<Arc<Loaded>> {
        self.loaded()
            .into_iter()
            .find(|loaded| loaded.info.name == name)
    }

    /// Puts the table together from the stubs and from what is in the book.
    fn rebuild_table(&self) {
        let table = RouteTable::build(scan::providers(&self.book()));
        self.inner.table.store(Arc::new(table));
    }
}
