//! Pro modules: finding them, checking them, loading them, and leading requests to them. In a community server this is
//! the table of routes that answer 402.
//!
//! `scan` finds and checks files, `loader` loads them, `lifecycle` starts and replaces, `upkeep` does all of it again and again, `routes` and `stubs` say which
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
mod upkeep;
pub mod view;
mod watchdog;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use fleetwright_plugin_api::info::ModuleInfo;
use fleetwright_plugin_api::wire::CallContext;
use futures_util::future::BoxFuture;

use crate::clock::SharedClock;
use crate::commands::Commands;
use crate::db::Db;
use crate::events::Signals;
use crate::hosts::Hosts;
use crate::http::idempotency::Idempotency;
use crate::licensing::{Licensing, TrustedKeys};

use activity::Activity;
use loaded::Loaded;
use quarantine::Quarantine;
use routes::RouteTable;
use runtime::ModuleRuntime;

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
}
