//! The inventory as an index, kept up to date by one loop that follows the core's feed. Not what is asked of it: that is the
//! engine's.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use fleetwright_plugin_api::sdk::{HostChange, HostRecord, Server, ServerError};
use fleetwright_selector::{HostFields, Index};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

/// Entries of the feed asked for at once: the most the server gives.
const CHANGES_PER_READ: u32 = 5_000;
/// Entries applied before those who ask get a turn: about 5 ms, a quarter of what a selection may take.
const CHANGES_PER_TURN: usize = 500;
/// Looked at also without a signal: signals are hints.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Before trying again after the feed failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);

/// What the lists of members show of a host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostLine {
    pub fqdn: Option<String>,
    pub status: String,
    pub approval_status: String,
}

/// The index at one revision of the inventory.
#[derive(Default)]
pub struct Indexed {
    pub index: Index,
    pub lines: HashMap<Uuid, HostLine>,
    pub revision: i64,
    /// Changes when a host comes or goes: only then does another host get a slot of the index.
    pub layout: u64,
}

/// The index and who waits for it.
#[derive(Default)]
pub struct Inventory {
    indexed: RwLock<Indexed>,
    progress: watch::Sender<Reached>,
    wake: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    revision: i64,
    failures: u64,
}

impl Inventory {
    /// For reading without awaiting.
    pub fn read(&self) -> RwLockReadGuard<'_, Indexed> {
        self.indexed.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the index has every change up to that revision. Fails when the feed does.
    pub async fn reached(&self, revision: i64) -> Result<(), ServerError> {
        let mut progress = self.progress.subscribe();
        let failures = {
            let now = progress.borrow();
            if now.revision >= revision {
                return Ok(());
            }
            now.failures
        };
        self.wake.notify_one();
        let reached = progress
            .wait_for(|now| now.revision >= revision || now.failures != failures)
            .await
            .map(|now| now.revision >= revision);
        match reached {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(ServerError::Unavailable(
                "the inventory cannot be read".to_owned(),
            )),
        }
    }

    /// Follows the feed for ever. The only one who changes the index.
    pub async fn follow(&self, server: &Server) {
        let keys = ["hosts".to_owned()];
        // A key that was ever published answers at once, so nothing is lost between the first look and the first wait.
        let mut since = 1;
        loop {
            if let Err(error) = self.catch_up(server).await {
                tracing::warn!(%error, "the inventory cannot be followed");
                self.progress.send_modify(|progress| progress.failures += 1);
                server.sleep(PAUSE_AFTER_FAILURE).await;
            }
            tokio::select! {
                generation = server.signals().wait(&keys, since) => since = generation,
                () = self.wake.notified() => {}
                () = server.sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn catch_up(&self, server: &Server) -> Result<(), ServerError> {
        loop {
            // Everything up to here is visible to the read that follows, even if the feed ends before it: revisions may
            // have gaps.
            let newest = server.hosts().revision();
            let after = self.read().revision;
            if after >= newest {
                return Ok(());
            }
            let page = server.hosts().changes(after, CHANGES_PER_READ).await?;
            let at_end = page.at_end;
            for turn in page.changes.chunks(CHANGES_PER_TURN) {
                self.change(|indexed| turn.iter().for_each(|change| indexed.apply(change)));
            }
            let reached = if at_end {
                page.revision.max(newest)
            } else {
                page.revision
            };
            self.change(|indexed| indexed.revision = indexed.revision.max(reached));
            self.progress
                .send_modify(|progress| progress.revision = reached);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Indexed)) {
        let mut indexed = self.indexed.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut indexed);
    }
}

impl Indexed {
    /// Applies one entry of the feed; they come in revision order.
    fn apply(&mut self, change: &HostChange) {
        match change {
            HostChange::Upsert(record) => {
                self.revision = record.revision;
                let fields = fields(record);
                self.layout += u64::from(!self.index.contains(&fields.id));
                self.index.upsert(&fields);
                self.lines.insert(fields.id, line(record));
            }
            HostChange::Deleted { id, revision } => {
                self.revision = *revision;
                self.layout += u64::from(self.index.remove(&id.0));
                self.lines.remove(&id.0);
            }
        }
    }
}

fn line(record: &HostRecord) -> HostLine {
    HostLine {
        fqdn: record.fqdn.clone(),
        status: record.status.clone(),
        approval_status: record.approval_status.clone(),
    }
}

/// The selector's view of a record. When it was last seen is not in the feed.
fn fields(record: &HostRecord) -> HostFields {
    HostFields {
        id: record.id.0,
        fqdn: record.fqdn.clone(),
        hostname: record.hostname.clone(),
        platform: record.platform.clone(),
        platform_release: record.platform_release.clone(),
        platform_version: record.platform_version.clone(),
        architecture: record.architecture.clone(),
        agent_version: record.agent_version.clone(),
        status: Some(record.status.clone()),
        approval_status: Some(record.approval_status.clone()),
        tags: record.tags.clone(),
        agent_tags: record.agent_tags.clone(),
        ipv4: record.ipv4.clone(),
        ipv6: record.ipv6.clone(),
        attributes: record.attributes.clone(),
        agent_attributes: record.agent_attributes.clone(),
        cpu_count: record.cpu_count.map(i64::from),
        memory_total_mb: record
            .memory_total_mb
            .map(|megabytes| i64::try_from(megabytes).unwrap_or(i64::MAX)),
        kvm_available: record.kvm_available,
        reserved: Some(record.reserved),
        created_at_us: Some(record.created_at_us),
        last_seen_at_us: None,
    }
}
