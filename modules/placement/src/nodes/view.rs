//! What clients see of nodes and of the fleet. A tenant's token sees of a node only what is its own on it.

use fleetwright_plugin_api::sdk::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::node::{Capacity, Live, Node};
use super::registry::Registry;

/// A host seen as capacity. What is null is not known yet, or not shown to a tenant's token.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NodeView {
    pub id: Uuid,
    pub fqdn: Option<String>,
    pub hostname: Option<String>,
    /// `ready`, `draining` (it takes no new placements) or `stale` (its agent has not been heard of for too long).
    pub state: &'static str,
    /// Used only where no other node fits.
    pub reserved: Option<bool>,
    pub schedulable: Option<bool>,
    pub memory_total_mb: Option<i64>,
    pub memory_available_mb: Option<i64>,
    /// Set aside for placements beyond what their VMs use already. For a tenant's token: its own.
    pub held_mb: i64,
    pub cpu_count: Option<i64>,
    pub cpu_load_pct: Option<i64>,
    /// Of live placements. For a tenant's token: its own.
    pub vcpus_placed: i64,
    pub kvm_available: Option<bool>,
    /// As its agent says, whoever started them; null where it cannot tell.
    pub vm_count: Option<i64>,
    /// Live placements here. For a tenant's token: its own.
    pub vms: Vec<NodeVm>,
    /// Whether there are more than are listed.
    pub vms_omitted: usize,
    pub boot_id: Option<String>,
    #[schema(format = DateTime)]
    pub heard_at: Option<String>,
    /// Of what an operator decided.
    pub revision: Option<i64>,
}

/// A live placement on a node.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NodeVm {
    pub placement_id: Uuid,
    pub vm_id: String,
    pub tenant_id: String,
    pub memory_mb: i64,
    pub held_mb: i64,
    /// `held` or `confirmed`.
    pub state: &'static str,
}

/// A page of nodes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NodePage {
    pub items: Vec<NodeView>,
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// The fleet's totals. Memory in MiB. For a tenant's token: of its own placements, on the nodes that carry them.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StatusView {
    pub nodes: NodesView,
    pub capacity: CapacityView,
    pub in_use: InUseView,
    pub held: HeldView,
}

#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct NodesView {
    pub total: i64,
    pub ready: i64,
    pub draining: i64,
    pub stale: i64,
    /// Of all of them. Null for a tenant's token.
    pub reserved: Option<i64>,
}

/// What the nodes have. Null for a tenant's token.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct CapacityView {
    pub memory_mb: Option<i64>,
    pub memory_available_mb: Option<i64>,
    pub cpu_count: Option<i64>,
}

#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct InUseView {
    /// Total less available. For a tenant's token: resident in its VMs, as far as their nodes say so.
    pub memory_mb: i64,
    /// VMs, as agents say. For a tenant's token: its own live placements.
    pub vm_count: i64,
    /// Of live placements.
    pub vcpus: i64,
}

#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct HeldView {
    /// Set aside for placements beyond what their VMs use already.
    pub memory_mb: i64,
    pub placements: i64,
}

/// VMs shown of one node: in lists none are.
const VMS_SHOWN: usize = 1_000;

/// A node as the caller may see it.
pub fn node(node: &Node, tenant: Option<&str>, with_vms: bool) -> NodeView {
    let own = |live: &&Live| tenant.is_none_or(|tenant| live.tenant_id == tenant);
    let capacity = node.capacity.as_ref().filter(|_| tenant.is_none());
    let host = node.host.as_ref().filter(|_| tenant.is_none());
    let open = tenant.is_none().then_some(());
    let of = |live: &Live| live.held_mb(node.capacity.as_ref());
    let shown: Vec<&Live> = node.live.values().filter(own).collect();
    let most = if with_vms { VMS_SHOWN } else { 0 };
    NodeView {
        id: node.id,
        fqdn: host.and_then(|host| host.fqdn.clone()),
        hostname: host.and_then(|host| host.hostname.clone()),
        state: node.state().as_str(),
        reserved: open.map(|()| node.is_reserved()),
        schedulable: open.map(|()| node.setting.schedulable),
        memory_total_mb: capacity.map(|capacity| capacity.memory_total_mb),
        memory_available_mb: capacity.map(|capacity| capacity.memory_available_mb),
        held_mb: shown.iter().map(|live| of(live)).sum(),
        cpu_count: capacity.map(|capacity| capacity.cpu_count),
        cpu_load_pct: capacity.map(|capacity| capacity.cpu_load_pct),
        vcpus_placed: shown.iter().map(|live| live.vcpus).sum(),
        kvm_available: capacity.map(|capacity| capacity.kvm_available),
        vm_count: capacity.and_then(Capacity::vm_count),
        vms: shown
            .iter()
            .take(most)
            .map(|live| vm(live, of(live)))
            .collect(),
        vms_omitted: shown.len().saturating_sub(most),
        boot_id: capacity.and_then(|capacity| capacity.boot_id.clone()),
        heard_at: open
            .and(node.heard_at_us)
            .map(|at| Timestamp(at).to_string()),
        revision: open.map(|()| node.setting.revision),
    }
}

/// The whole fleet.
pub fn status(registry: &Registry) -> StatusView {
    let totals = registry.totals();
    StatusView {
        nodes: NodesView {
            total: totals.ready + totals.draining + totals.stale,
            ready: totals.ready,
            draining: totals.draining,
            stale: totals.stale,
            reserved: Some(totals.reserved),
        },
        capacity: CapacityView {
            memory_mb: Some(totals.memory_total_mb),
            memory_available_mb: Some(totals.memory_available_mb),
            cpu_count: Some(totals.cpu_count),
        },
        in_use: InUseView {
            memory_mb: (totals.memory_total_mb - totals.memory_available_mb).max(0),
            vm_count: totals.vm_count,
            vcpus: totals.placed_vcpus,
        },
        held: HeldView {
            memory_mb: totals.held_mb,
            placements: totals.placements,
        },
    }
}

/// What is a tenant's: as much work as it has placements.
pub fn status_of(registry: &Registry, tenant: &str) -> StatusView {
    let mut status = StatusView {
        nodes: NodesView::default(),
        capacity: CapacityView::default(),
        in_use: InUseView::default(),
        held: HeldView::default(),
    };
    for node in registry.nodes_of(tenant) {
        status.nodes.total += 1;
        match node.state() {
            super::node::State::Ready => status.nodes.ready += 1,
            super::node::State::Draining => status.nodes.draining += 1,
            super::node::State::Stale => status.nodes.stale += 1,
        }
        for live in node.live.values().filter(|live| live.tenant_id == tenant) {
            let resident = |capacity: &Capacity| capacity.resident_mb(&live.vm_id);
            status.in_use.memory_mb += node.capacity.as_ref().map_or(0, resident);
            status.in_use.vm_count += 1;
            status.in_use.vcpus += live.vcpus;
            status.held.memory_mb += live.held_mb(node.capacity.as_ref());
            status.held.placements += 1;
        }
    }
    status
}

fn vm(live: &Live, held_mb: i64) -> NodeVm {
    NodeVm {
        placement_id: live.id,
        vm_id: live.vm_id.clone(),
        tenant_id: live.tenant_id.clone(),
        memory_mb: live.memory_mb,
        held_mb,
        state: if live.confirmed { "confirmed" } else { "held" },
    }
}
