//! What agents say of their machines with every heartbeat, as modules read it.

use fleetwright_protocol::HostId;
use serde::{Deserialize, Serialize};

/// A virtual machine, as the agent of its host reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmReport {
    /// At most 128 bytes, without control characters; each once.
    pub id: String,
    /// Memory it takes of its host, in mebibytes; none if the agent does not know.
    #[serde(default)]
    pub memory_resident_mb: Option<u64>,
}

/// What the last heartbeat of a machine said. All of it but `host_id` and `seen_us` is the word of its agent: bounded, not
/// believed. What it did not say is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeCapacity {
    /// Of an approved host.
    pub host_id: HostId,
    /// When it arrived, on the lease clock.
    pub seen_us: i64,
    /// Changes when the machine starts again.
    #[serde(default)]
    pub boot_id: Option<String>,
    /// In mebibytes.
    #[serde(default)]
    pub memory_total_mb: Option<u64>,
    /// In mebibytes.
    #[serde(default)]
    pub memory_available_mb: Option<u64>,
    /// Logical processors.
    #[serde(default)]
    pub cpu_count: Option<u32>,
    /// Percent of all processors, 0 to 100.
    #[serde(default)]
    pub cpu_load_pct: Option<f64>,
    /// Whether it has `/dev/kvm`.
    #[serde(default)]
    pub kvm_available: Option<bool>,
    /// Sorted by id; empty: it runs none; none: the agent does not know.
    #[serde(default)]
    pub vms: Option<Vec<VmReport>>,
}

/// A page of the feed of heartbeats. Apply it, then ask again after `sequence` while there is `more`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CapacityChanges {
    /// Another one than before: the server began anew; forget the sequence and ask after 0.
    pub epoch: u64,
    /// That of the last machine here: ask after it next.
    pub sequence: u64,
    /// There are newer ones.
    pub more: bool,
    /// Of each machine only its last heartbeat. One that leaves is told by the inventory feed; one that falls silent, by its age.
    pub nodes: Vec<NodeCapacity>,
}
