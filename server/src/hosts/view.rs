//! A host as `GET /hosts` shows it.

use std::collections::BTreeMap;

use fleetwright_protocol::{Heartbeat, HostId, VmReport};
use serde::Serialize;
use utoipa::ToSchema;

use super::Hosts;
use super::host::{Host, status_name};
use super::sessions::{Conflict, ConflictKind, Keep, Side};
use crate::http::Timestamp;

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HostView {
    #[schema(value_type = uuid::Uuid)]
    pub id: HostId,
    /// Rises with every change of the host; the `ETag`.
    pub revision: i64,
    /// `pending`, `approved` or `rejected`.
    pub approval_status: &'static str,
    /// `online` or `offline`.
    pub status: &'static str,
    /// Kept free of placements.
    pub reserved: bool,
    /// Set when two machines were seen with this host's identity: nothing is sent to either. `unlock` ends it.
    pub locked_reason: Option<String>,
    pub created_at: Timestamp,
    pub last_seen_at: Option<Timestamp>,
    /// What it was called when it was approved, or what a person accepted since.
    pub fqdn: Option<String>,
    pub hostname: Option<String>,
    /// This and the following facts are the host's own word, always its latest.
    pub platform: Option<String>,
    pub platform_release: Option<String>,
    pub platform_version: Option<String>,
    pub architecture: Option<String>,
    pub agent_version: Option<String>,
    pub cpu_count: Option<u32>,
    pub memory_total_mb: Option<u64>,
    pub kvm_available: Option<bool>,
    pub ipv4: Vec<String>,
    pub ipv6: Vec<String>,
    /// What people gave it; `PATCH` replaces them.
    pub tags: Vec<String>,
    /// What people gave it; `PATCH` replaces them.
    pub attributes: BTreeMap<String, String>,
    /// What its agent says of itself, a claim: selected by under this name only, until a person accepts it.
    pub agent_tags: Vec<String>,
    /// What its agent says of itself, a claim: selected by under this name only, until a person accepts it.
    pub agent_attributes: BTreeMap<String, String>,
    /// What it says it is called since it was approved. It is not called so until a person accepts it.
    pub pending_names: Option<NamesView>,
    /// Of what its agent says more than is kept, and is cut: `tags`, `attributes`, `facts`.
    pub agent_cut: Vec<String>,
    /// The same as `tags`.
    pub operator_tags: Vec<String>,
    /// The same as `attributes`.
    pub operator_attributes: BTreeMap<String, String>,
    /// What the agent last said of its load; only for a single host that is online.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<HeartbeatView>,
    /// The last time that two machines were met with this host's identity; only for a single host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict: Option<ConflictView>,
}

/// Two machines with one identity.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ConflictView {
    pub detected_at: Timestamp,
    /// How they were told apart: `older_session`, `other_name`, `unknown_session`, `uncounted` or `both_connected`.
    pub kind: ConflictKind,
    /// The one that was known before.
    pub earlier: SideView,
    /// The one whose `hello` (or renewal) brought it to light.
    pub later: SideView,
    /// The one that an operator decided for: `earlier` or `later`.
    pub kept: Option<Keep>,
}

/// A machine as it showed itself.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SideView {
    pub address: String,
    pub boot_id: String,
    pub machine_id: String,
    /// The number of its session; null if its agent does not count them.
    pub session: Option<u64>,
    pub certificate_generation: i64,
    pub seen_at: Timestamp,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NamesView {
    pub fqdn: Option<String>,
    pub hostname: Option<String>,
}

/// Kept in memory only.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HeartbeatView {
    pub memory_total_mb: Option<u64>,
    pub memory_available_mb: Option<u64>,
    pub cpu_count: Option<u32>,
    /// Percent of all processors.
    pub cpu_load_pct: Option<f32>,
    pub kvm_available: Option<bool>,
    pub vm_count: Option<u32>,
    /// Empty: it runs none; null: its agent does not know.
    pub vms: Option<Vec<VmView>>,
    pub boot_id: Option<String>,
}

/// A virtual machine, as the agent of its host reports it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct VmView {
    pub id: String,
    /// Memory it takes of its host, in mebibytes; null if its agent does not know.
    pub memory_resident_mb: Option<u64>,
}

/// A host in a list.
pub fn listed(hosts: &Hosts, host: Host) -> HostView {
    // The registry knows of newer signs of life than the last batch stored.
    let seen = hosts
        .registry()
        .get(host.id)
        .map(|meta| meta.last_seen_us)
        .filter(|seen| *seen > 0)
        .max(host.last_seen_us);
    let names = host.names();
    let pending_names = host.pending_names().map(|names| NamesView {
        fqdn: names.fqdn,
        hostname: names.hostname,
    });
    let facts = host.reported.facts;
    HostView {
        id: host.id,
        revision: host.revision,
        approval_status: host.approval.as_str(),
        status: status_name(host.online),
        reserved: host.labels.reserved,
        locked_reason: host.identity.locked_reason,
        created_at: Timestamp(host.created_at_us),
        last_seen_at: seen.map(Timestamp),
        fqdn: names.fqdn,
        hostname: names.hostname,
        platform: facts.platform,
        platform_release: facts.platform_release,
        platform_version: facts.platform_version,
        architecture: facts.architecture,
        agent_version: facts.agent_version,
        cpu_count: facts.cpu_count,
        memory_total_mb: facts.memory_total_mb,
        kvm_available: facts.kvm_available,
        ipv4: facts.ipv4,
        ipv6: facts.ipv6,
        tags: host.labels.tags.clone(),
        attributes: host.labels.attributes.clone(),
        agent_tags: host.reported.tags,
        agent_attributes: host.reported.attributes,
        pending_names,
        agent_cut: host.reported.cut,
        operator_tags: host.labels.tags,
        operator_attributes: host.labels.attributes,
        heartbeat: None,
        conflict: None,
    }
}

pub fn conflict(conflict: Conflict) -> ConflictView {
    ConflictView {
        detected_at: Timestamp(conflict.at_us),
        kind: conflict.kind,
        earlier: side(conflict.earlier),
        later: side(conflict.later),
        kept: conflict.kept,
    }
}

fn side(side: Side) -> SideView {
    SideView {
        address: side.address,
        boot_id: side.boot_id,
        machine_id: side.machine_id,
        session: side.mark.map(|mark| mark.counter),
        certificate_generation: side.issued.generation,
        seen_at: Timestamp(side.at_us),
    }
}

/// A host by itself.
pub fn single(hosts: &Hosts, host: Host) -> HostView {
    let heartbeat = hosts.heartbeat(host.id).map(heartbeat);
    HostView {
        heartbeat,
        ..listed(hosts, host)
    }
}

fn heartbeat(heartbeat: Heartbeat) -> HeartbeatView {
    HeartbeatView {
        memory_total_mb: heartbeat.memory_total_mb,
        memory_available_mb: heartbeat.memory_available_mb,
        cpu_count: heartbeat.cpu_count,
        // Whatever the agent sent, JSON can only say finite numbers.
        cpu_load_pct: heartbeat.cpu_load_pct.filter(|load| load.is_finite()),
        kvm_available: heartbeat.kvm_available,
        vm_count: heartbeat.vm_count,
        vms: heartbeat.vms.map(|vms| vms.into_iter().map(vm).collect()),
        boot_id: heartbeat.boot_id,
    }
}

fn vm(vm: VmReport) -> VmView {
    VmView {
        id: vm.id,
        memory_resident_mb: vm.memory_resident_mb,
    }
}
