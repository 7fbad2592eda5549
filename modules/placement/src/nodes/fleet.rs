//! The registry and how it is kept up: read once at a start, then by the inventory's feed, by heartbeats, and by what other
//! servers stored.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use fleetwright_plugin_api::sdk::{Batch, Server, ServerError};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::node::{Heartbeat, Live};
use super::registry::Registry;
use super::store;
use crate::settings::{Limits, Settings};

/// Entries of the inventory's feed asked for at once: the most the server gives.
const CHANGES_PER_READ: u32 = 5_000;
/// Nodes whose placements are read at once: parameters of one statement.
const NODES_PER_RELOAD: usize = 50;
/// Nodes of one commit.
const SAVED_PER_BATCH: usize = 500;
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// Looked at also without a signal: signals are hints.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const MICROS_PER_SECOND: i64 = 1_000_000;
/// Published with everything that another server must know of.
pub const NODES_SIGNAL: &str = "placement:nodes";

/// The nodes of the fleet. Cheap to clone.
#[derive(Clone)]
pub struct Fleet {
    shared: Arc<Shared>,
}

struct Shared {
    server: Server,
    limits: Limits,
    registry: RwLock<Registry>,
    /// Whether what was saved has been read; held by who brings the registry up to date.
    restored: Mutex<bool>,
    /// The count of changes up to which what others stored is known; held by who reads what is above.
    changed: Mutex<i64>,
}

impl Fleet {
    pub fn new(server: &Server) -> Self {
        let limits = Settings::of(server).placement;
        let registry = Registry::new(limits.strategy, limits.cpu_overcommit);
        Self {
            shared: Arc::new(Shared {
                server: server.clone(),
                limits,
                registry: RwLock::new(registry),
                restored: Mutex::new(false),
                changed: Mutex::new(0),
            }),
        }
    }

    pub fn server(&self) -> &Server {
        &self.shared.server
    }

    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// The registry as it is now, with what was there before the call, and with nobody fresh who is not. Not to be kept
    /// while awaiting.
    pub async fn read(&self) -> Result<RwLockReadGuard<'_, Registry>, ServerError> {
        self.catch_up().await?;
        let stale_us = i64::from(self.limits().node_stale_seconds) * MICROS_PER_SECOND;
        let before = self.server().lease_us().saturating_sub(stale_us);
        self.write().advance(before);
        Ok(self.known())
    }

    /// The registry without looking for anything newer.
    pub fn known(&self) -> RwLockReadGuard<'_, Registry> {
        let registry = &self.shared.registry;
        registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For whoever has committed something.
    pub fn write(&self) -> RwLockWriteGuard<'_, Registry> {
        let registry = &self.shared.registry;
        registry.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes heartbeats, in the order they came.
    pub async fn hear(&self, heartbeats: Vec<Heartbeat>) -> Result<(), ServerError> {
        self.catch_up().await?;
        let mut registry = self.write();
        for heartbeat in heartbeats {
            registry.hear(heartbeat);
        }
        Ok(())
    }

    /// Reads again what was stored of the nodes that somebody else has changed: as much work as there are changes.
    pub async fn refresh(&self) -> Result<(), ServerError> {
        self.catch_up().await?;
        let mut changed = self.shared.changed.lock().await;
        loop {
            let page = store::changed(self.server().db(), *changed).await?;
            let Some(last) = page.last().map(|saved| saved.changed) else {
                return Ok(());
            };
            // What comes meanwhile is not waited for: there may always be more.
            let is_last = page.len() < store::NODES_PER_PAGE;
            let newer = {
                let registry = self.known();
                let is_newer = |saved: &store::Saved| {
                    let known = registry.node(saved.host_id).map(|node| node.generation);
                    known.is_none_or(|known| known < saved.generation)
                };
                page.into_iter().filter(is_newer).collect::<Vec<_>>()
            };
            for some in newer.chunks(NODES_PER_RELOAD) {
                self.reload(some).await?;
            }
            *changed = last;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Reads again what this server has just committed. What cannot be read now is read by the loop.
    pub async fn follow_up(&self) {
        if let Err(error) = self.refresh().await {
            tracing::debug!(%error, "what was committed is not known yet");
        }
    }

    /// Saves what agents have said since it was saved last.
    pub async fn save(&self) -> Result<(), ServerError> {
        loop {
            let nodes = self.write().take_dirty(SAVED_PER_BATCH);
            if nodes.is_empty() {
                return Ok(());
            }
            let (batch, taken) = store::save(Batch::new(), &nodes, self.server().now_us());
            let rest = nodes.iter().skip(taken).map(|node| node.id);
            self.write().still_dirty(rest);
            let context = self.server().own_context();
            if let Err(error) = self.server().db().commit(&context, batch).await {
                let ids = nodes.iter().map(|node| node.id);
                self.write().still_dirty(ids);
                return Err(error);
            }
        }
    }

    /// The placements are read after the generations: what came in between is looked at twice, never missed.
    async fn reload(&self, changed: &[store::Saved]) -> Result<(), ServerError> {
        let ids: Vec<Uuid> = changed.iter().map(|saved| saved.host_id).collect();
        let mut live: BTreeMap<Uuid, Vec<Live>> = BTreeMap::new();
        let mut after = Uuid::nil();
        loop {
            let page = store::live_on(self.server().db(), &ids, after).await?;
            let Some((_, last)) = page.last() else { break };
            after = last.id;
            for (host_id, one) in page {
                live.entry(host_id).or_default().push(one);
            }
        }
        let mut registry = self.write();
        for saved in changed {
            let live = live.remove(&saved.host_id).unwrap_or_default();
            registry.reload(saved, live);
        }
        Ok(())
    }

    async fn catch_up(&self) -> Result<(), ServerError> {
        let newest = self.server().hosts().revision();
        let mut restored = self.shared.restored.lock().await;
        if *restored && self.known().inventory_revision >= newest {
            return Ok(());
        }
        self.read_inventory(newest).await?;
        if !*restored {
            self.restore().await?;
            self.read_inventory(newest).await?;
            self.write().know_absent();
            *restored = true;
        }
        Ok(())
    }

    async fn read_inventory(&self, newest: i64) -> Result<(), ServerError> {
        loop {
            let after = self.known().inventory_revision;
            let page = self
                .server()
                .hosts()
                .changes(after, CHANGES_PER_READ)
                .await?;
            let mut registry = self.write();
            for change in &page.changes {
                registry.apply(change);
            }
            registry.inventory_revision = page.revision.max(after);
            if page.at_end {
                registry.inventory_revision = registry.inventory_revision.max(newest);
                return Ok(());
            }
        }
    }

    async fn restore(&self) -> Result<(), ServerError> {
        // Before anything is read: what comes meanwhile is looked at twice, never missed.
        let count = store::changes(self.server().db()).await?;
        let (mut after, mut unread) = (Uuid::nil(), Vec::new());
        loop {
            let page = store::restored(self.server().db(), after).await?;
            let last = page.last().map(|saved| saved.host_id);
            for mut saved in page {
                self.write().restore(saved.clone());
                saved.capacity = None;
                unread.push(saved);
            }
            if last.is_none() || unread.len() >= NODES_PER_RELOAD {
                self.reload(&unread).await?;
                unread.clear();
            }
            let Some(last) = last else { break };
            after = last;
        }
        *self.shared.changed.lock().await = count;
        Ok(())
    }
}

/// Follows the inventory and what other servers store, for ever.
pub async fn follow(fleet: Fleet) {
    let keys = ["hosts".to_owned(), NODES_SIGNAL.to_owned()];
    let mut since = 1;
    loop {
        if let Err(error) = fleet.refresh().await {
            tracing::warn!(%error, "the nodes cannot be followed");
        }
        let server = fleet.server();
        tokio::select! {
            generation = server.signals().wait(&keys, since) => since = generation,
            () = server.sleep(LOOK_EVERY) => {}
        }
        // Signals of a burst are one.
        server.sleep(Duration::from_millis(250)).await;
    }
}

/// Saves what agents said, for ever.
pub async fn keep_saved(fleet: Fleet) {
    loop {
        fleet.server().sleep(SAVE_EVERY).await;
        if let Err(error) = fleet.save().await {
            tracing::warn!(%error, "what agents say of their capacity cannot be saved");
        }
    }
}
