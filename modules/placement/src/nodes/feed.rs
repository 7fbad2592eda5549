//! What agents say of their hosts' capacity: the server's feed of heartbeats, read into the registry.

use std::collections::BTreeMap;
use std::time::Duration;

use fleetwright_plugin_api::sdk::{
    CAPACITY_SIGNAL, Capacity as Source, ModuleError, NodeCapacity, ServerError,
};

use super::fleet::Fleet;
use super::node::{Capacity, Heartbeat};

/// Asked for at once: the most the server gives.
const NODES_PER_READ: u32 = 1_000;
/// Looked at also without a signal: signals are hints.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Before the feed is asked again after it failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);

/// Where in the feed a reader is.
pub struct Feed {
    fleet: Fleet,
    source: Source,
    epoch: u64,
    sequence: u64,
}

impl Feed {
    /// At its beginning. Fails on a server that has no such feed.
    pub fn new(fleet: &Fleet) -> Result<Self, ModuleError> {
        Ok(Self {
            fleet: fleet.clone(),
            source: fleet.server().capacity()?,
            epoch: 0,
            sequence: 0,
        })
    }

    /// Takes all that is new. What could not be taken is read again next time.
    pub async fn read(&mut self) -> Result<(), ServerError> {
        loop {
            let page = self.source.changes(self.sequence, NODES_PER_READ).await?;
            if page.epoch != self.epoch && self.sequence != 0 {
                // Of another life of the server: its sequences mean something else.
                self.sequence = 0;
                continue;
            }
            let server = self.fleet.server();
            let (now_us, lease_us) = (server.now_us(), server.lease_us());
            let heard = page.nodes.into_iter().map(|node| {
                let ago_us = lease_us.saturating_sub(node.seen_us).max(0);
                heartbeat(node, now_us.saturating_sub(ago_us))
            });
            self.fleet.hear(heard.collect()).await?;
            (self.epoch, self.sequence) = (page.epoch, page.sequence);
            if !page.more {
                return Ok(());
            }
        }
    }
}

/// Follows the feed for ever.
pub async fn follow(fleet: Fleet) {
    let server = fleet.server();
    let keys = [CAPACITY_SIGNAL.to_owned()];
    let mut since = 0;
    let mut feed = match Feed::new(&fleet) {
        Ok(feed) => feed,
        Err(error) => return tracing::error!(%error, "there is no feed of heartbeats"),
    };
    loop {
        if let Err(error) = feed.read().await {
            tracing::warn!(%error, "what agents say of their capacity cannot be followed");
            server.sleep(PAUSE_AFTER_FAILURE).await;
            continue;
        }
        tokio::select! {
            generation = server.signals().wait(&keys, since) => since = generation,
            () = server.sleep(LOOK_EVERY) => {}
        }
    }
}

/// What an agent does not say of itself counts as none, so that nothing is placed on it; which VMs run may be unknown.
fn heartbeat(node: NodeCapacity, heard_at_us: i64) -> Heartbeat {
    let signed =
        |value: Option<u64>| value.map_or(0, |value| i64::try_from(value).unwrap_or(i64::MAX));
    let vms = node.vms.map(|vms| {
        let resident = vms.into_iter();
        let resident = resident.map(|vm| (vm.id, signed(vm.memory_resident_mb)));
        resident.collect::<BTreeMap<String, i64>>()
    });
    Heartbeat {
        host_id: node.host_id.0,
        heard_lease_us: node.seen_us,
        heard_at_us,
        capacity: Capacity {
            memory_total_mb: signed(node.memory_total_mb),
            memory_available_mb: signed(node.memory_available_mb),
            cpu_count: i64::from(node.cpu_count.unwrap_or(0)),
            cpu_load_pct: percent(node.cpu_load_pct.unwrap_or(0.0)),
            kvm_available: node.kvm_available.unwrap_or(false),
            vms,
            boot_id: node.boot_id,
        },
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "it is brought between 0 and 100 before; what is no number becomes 0"
)]
fn percent(value: f64) -> i64 {
    value.clamp(0.0, 100.0).round() as i64
}
