//! The inventory: hosts, their approval, labels and presence, and the feed that modules follow. `actions` is what
//! operators do, `reports` what agents say, `presence` what is saved in batches.

pub mod actions;
pub mod admission;
pub mod claims;
pub mod conflicts;
pub mod deletion;
mod error;
mod events;
pub mod feed;
mod heartbeats;
mod hellos;
pub mod host;
pub mod http;
mod keeping;
pub mod labels;
pub mod presence;
pub mod registry;
pub mod reports;
pub mod sessions;
pub mod store;
pub mod view;

use std::sync::Arc;

use fleetwright_plugin_api::wire::{CapacityChanges, HostChanges};
use fleetwright_protocol::{Heartbeat, HostId};

use crate::clock::SharedClock;
use crate::config::HostNames;
use crate::db::{Db, DbError, Tx};
use crate::events::{Events, Signals};
use crate::links::Connections;

use heartbeats::Heartbeats;

pub use feed::HostFeed;
pub use registry::{HostMeta, HostRegistry};

/// The signal that the inventory feed has grown.
pub const HOSTS_SIGNAL: &str = "hosts";

/// What the inventory needs of the rest of the server.
#[derive(Clone)]
pub struct HostsParts {
    pub clock: SharedClock,
    pub db: Db,
    pub signals: Signals,
    pub events: Events,
    pub connections: Connections,
    pub names: HostNames,
}

/// A handle on the inventory; cheap to clone.
#[derive(Clone)]
pub struct Hosts {
    inner: Arc<HostsState>,
}

struct HostsState {
    parts: HostsParts,
    registry: HostRegistry,
    feed: HostFeed,
    heartbeats: Heartbeats,
    hellos: hellos::HelloQueue,
}

impl Hosts {
    /// Loads the registry. Starts nothing; see [`presence::run`].
    pub async fn load(parts: HostsParts) -> Result<Self, DbError> {
        let feed = HostFeed::at(store::revision(&parts.db).await?);
        let registry = HostRegistry::load(&parts.db, parts.clock.clone()).await?;
        let (_, epoch) = parts.clock.new_id().as_u64_pair();
        Ok(Self {
            inner: Arc::new(HostsState {
                parts,
                registry,
                feed,
                heartbeats: Heartbeats::new(epoch),
                hellos: hellos::HelloQueue::default(),
            }),
        })
    }

    /// Reads back what commits of unknown outcome may have changed.
    pub async fn reload(&self) -> Result<(), DbError> {
        self.registry().reload(self.db()).await?;
        self.inner.feed.committed(store::revision(self.db()).await?);
        self.inner.parts.signals.publish(HOSTS_SIGNAL);
        Ok(())
    }

    pub fn registry(&self) -> &HostRegistry {
        &self.inner.registry
    }

    /// The newest committed revision of the feed.
    pub fn revision(&self) -> i64 {
        self.inner.feed.revision()
    }

    /// A page of the feed; see [`feed::changes`].
    pub async fn changes(&self, after_revision: i64, limit: u32) -> Result<HostChanges, DbError> {
        feed::changes(self.db(), after_revision, limit).await
    }

    /// Every host's last sign of life in µs since the epoch, as known this instant.
    pub fn last_seen(&self) -> Vec<(HostId, i64)> {
        self.registry().last_seen()
    }

    /// The latest heartbeat of a host that is online.
    pub fn heartbeat(&self, id: HostId) -> Option<Heartbeat> {
        self.inner.heartbeats.get(id)
    }

    /// A page of the feed of heartbeats: hosts that may be connected, heard of after a sequence.
    pub fn capacity(&self, after: u64, limit: u32) -> CapacityChanges {
        let is_node = |id| self.registry().is_admitted(id);
        self.inner.heartbeats.changes(after, limit, is_node)
    }

    pub fn db(&self) -> &Db {
        &self.inner.parts.db
    }

    pub fn now_us(&self) -> i64 {
        self.inner.parts.clock.now_us()
    }

    pub(crate) fn parts(&self) -> &HostsParts {
        &self.inner.parts
    }

    /// Takes every host offline that has been silent for too long; returns them.
    pub fn expire_silent(&self) -> Vec<HostId> {
        let silent = self.registry().expire_silent();
        self.forget_heartbeats(&silent);
        silent
    }

    fn forget_heartbeats(&self, ids: &[HostId]) {
        self.inner.heartbeats.forget(ids);
    }

    /// Tells the followers of the feed, once `tx` is on disk, that it has grown up to `revision`.
    pub(crate) fn announce(&self, tx: &mut Tx<'_>, revision: i64) {
        let hosts = self.clone();
        tx.after_commit(move || {
            hosts.inner.feed.committed(revision);
            hosts.inner.parts.signals.publish(HOSTS_SIGNAL);
        });
    }
}
