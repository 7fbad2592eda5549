//! Pro modules: finding them, checking them, loading them, and leading requests to them. In a community server this is
//! the table of routes that answer 402.
//!
//! `scan` finds and checks files, `book` knows what became of them, `loader` loads them, `lifecycle` starts and replaces,
//! `upkeep` does all of it again and again, `providers` and `routes` say which route leads where, `http/admit` who may come
//! in (by `judge`) and `http/refuse` what the others hear, `dispatch` calls into a module, `watchdog` looks after it, `services` are
//! what it gets of us.

mod activity;
mod blobs;
mod book;
mod dispatch;
pub mod http;
mod judge;
mod lifecycle;
mod loaded;
pub mod loader;
mod memberships;
pub mod openapi;
mod providers;
mod quarantine;
pub mod routes;
mod runtime;
mod scan;
pub mod services;
pub mod sql_guard;
mod store;
pub mod testing;
mod upkeep;
pub mod view;
mod watchdog;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::auth::identities::Identities;
use crate::auth::{Caller, Standing};
use crate::clock::SharedClock;
use crate::commands::Commands;
use crate::db::Db;
use crate::events::Signals;
use crate::hosts::Hosts;
use crate::http::idempotency::Idempotency;
use crate::http::streams::Streams;
use crate::licensing::{Licensing, TrustedKeys};

use activity::Activity;
use book::Book;
use loaded::Loaded;
use providers::{Provider, providers};
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
    pub streams: Streams,
    pub licensing: Licensing,
    pub identities: Identities,
    /// What modules are told of the settings.
    pub settings: BTreeMap<String, Value>,
}

/// A handle on the modules; cheap to clone.
#[derive(Clone)]
pub struct Modules {
    registry: Arc<Registry>,
}

/// Serves a request of a module with the checks every request gets, as the identity given.
pub type InProcess = Arc<
    dyn Fn(::http::Request<Bytes>, Caller, Standing) -> BoxFuture<'static, ::http::Response<Bytes>>
        + Send
        + Sync,
>;

/// What is here, in what state, and what it runs on.
struct Registry {
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

impl Modules {
    /// Lets modules call the server's routes in process. Set once, when the router is put together.
    pub fn set_in_process(&self, serve: InProcess) {
        let _ = self.registry.in_process.set(serve);
    }

    fn parts(&self) -> &ModulesParts {
        &self.registry.parts
    }

    fn table(&self) -> arc_swap::Guard<Arc<RouteTable<Provider>>> {
        self.registry.table.load()
    }

    /// Nothing panics while it holds the lock.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.registry
            .book
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing panics while it holds the lock.
    fn retired(&self) -> MutexGuard<'_, Vec<(String, Activity)>> {
        self.registry
            .retired
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The present version of every loaded module.
    fn loaded(&self) -> Vec<Arc<Loaded>> {
        self.book().loaded().map(Arc::clone).collect()
    }

    fn find(&self, name: &str) -> Option<Arc<Loaded>> {
        self.loaded()
            .into_iter()
            .find(|loaded| loaded.info.name == name)
    }

    /// Puts the table together from what the product declares and what is in the book.
    fn rebuild_table(&self) {
        let table = RouteTable::build(providers(&self.book()));
        self.registry.table.store(Arc::new(table));
    }
}
