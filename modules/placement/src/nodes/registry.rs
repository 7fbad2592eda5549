//! All nodes in memory, with what is kept about them: totals, who is fresh, what is to be saved, what of whom is where. A cache:
//! leases are what is stored. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fleetwright_plugin_api::sdk::{HostChange, HostRecord};
use uuid::Uuid;

use super::candidates::{Candidate, Candidates};
use super::node::{Heartbeat, Host, Live, Node, State};
use super::store::Saved;
use super::totals::{Share, Totals};
use crate::settings::Strategy;

/// Hosts with such a tag belong to a pool, and are no candidates.
const POOL_TAG: &str = "pool:";

/// The nodes.
#[derive(Debug)]
pub struct Registry {
    cpu_overcommit: f64,
    nodes: BTreeMap<Uuid, Node>,
    /// What each node adds to the totals now.
    shares: HashMap<Uuid, Share>,
    totals: Totals,
    candidates: Candidates,
    /// By when they were heard of, so that the stale ones are found without looking at the others.
    fresh: BTreeSet<(i64, Uuid)>,
    /// Heard of since they were saved.
    dirty: BTreeSet<Uuid>,
    /// Node and placement.
    by_tenant: HashMap<String, BTreeSet<(Uuid, Uuid)>>,
    /// Placements that heartbeats move on, and those of hosts that are gone.
    due: BTreeSet<(Uuid, Uuid)>,
    /// Of the inventory, as it was read.
    pub inventory_revision: i64,
}

impl Registry {
    /// Empty.
    pub fn new(strategy: Strategy, cpu_overcommit: f64) -> Self {
        Self {
            cpu_overcommit,
            nodes: BTreeMap::new(),
            shares: HashMap::new(),
            totals: Totals::default(),
            candidates: Candidates::new(strategy),
            fresh: BTreeSet::new(),
            dirty: BTreeSet::new(),
            by_tenant: HashMap::new(),
            due: BTreeSet::new(),
            inventory_revision: 0,
        }
    }

    /// The nodes as they are decided on.
    pub fn candidates(&self) -> &Candidates {
        &self.candidates
    }

    pub fn node(&self, id: Uuid) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// Those that are candidates or could be, after one, ascending by id.
    pub fn nodes_after(&self, id: Option<Uuid>) -> impl Iterator<Item = &Node> {
        let from = id.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let rest = self.nodes.range((from, std::ops::Bound::Unbounded));
        rest.map(|(_, node)| node).filter(|node| node.is_node())
    }

    /// The nodes a tenant has something on, ascending by id.
    pub fn nodes_of(&self, tenant_id: &str) -> Vec<&Node> {
        let mut ids: Vec<Uuid> = self.placed(tenant_id).map(|(node, _)| node).collect();
        ids.dedup();
        ids.into_iter()
            .filter_map(|id| self.nodes.get(&id))
            .collect()
    }

    /// Whether a tenant has something on the node.
    pub fn sees(&self, tenant_id: &str, node_id: Uuid) -> bool {
        self.placed(tenant_id).any(|(node, _)| node == node_id)
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Ids of nodes and placements that heartbeats move on, or whose host is gone.
    pub fn due(&self) -> Vec<(Uuid, Uuid)> {
        self.due.iter().copied().collect()
    }

    /// Marks as stale what was heard of before.
    pub fn advance(&mut self, stale_before_lease_us: i64) {
        while let Some(&(heard, id)) = self.fresh.first() {
            if heard > stale_before_lease_us {
                return;
            }
            self.fresh.pop_first();
            self.change(id, |node| node.is_fresh = false);
        }
    }

    /// Takes what an agent said. One that is not newer than what is known says nothing, so that reading one twice counts no VM
    /// as missed twice; of a host that nobody knows, nothing is kept.
    pub fn hear(&mut self, heartbeat: Heartbeat) {
        let id = heartbeat.host_id;
        let Some(node) = self.nodes.get(&id) else {
            return;
        };
        if heartbeat.heard_lease_us <= node.heard_lease_us || node.host.is_none() {
            return;
        }
        self.fresh.remove(&(node.heard_lease_us, id));
        self.fresh.insert((heartbeat.heard_lease_us, id));
        self.dirty.insert(id);
        self.change(id, |node| {
            node.hear(heartbeat.capacity);
            node.is_fresh = true;
            node.heard_lease_us = heartbeat.heard_lease_us;
            node.heard_at_us = Some(heartbeat.heard_at_us);
        });
    }

    /// Applies one entry of the inventory's feed.
    pub fn apply(&mut self, change: &HostChange) {
        match change {
            HostChange::Upsert(record) => {
                self.add(record.id.0);
                self.change(record.id.0, |node| {
                    node.host = Some(host(record));
                    node.is_deleted = false;
                });
            }
            HostChange::Deleted { id, .. } => {
                if let Some(node) = self.nodes.get(&id.0) {
                    self.fresh.remove(&(node.heard_lease_us, id.0));
                }
                self.change(id.0, |node| {
                    node.host = None;
                    node.is_deleted = true;
                    node.is_fresh = false;
                    node.capacity = None;
                });
                self.forget(id.0);
            }
        }
    }

    /// Takes what was saved, at a start; stale until its first heartbeat.
    pub fn restore(&mut self, saved: Saved) {
        let id = saved.host_id;
        self.add(id);
        self.change(id, |node| {
            node.setting = saved.setting;
            node.generation = saved.generation;
            node.heard_at_us = saved.saved_at_us;
            node.capacity = saved.capacity;
        });
    }

    /// The inventory was read after what was saved: nodes that are not in it were deleted.
    pub fn know_absent(&mut self) {
        let absent = self.nodes.values().filter(|node| node.host.is_none());
        let absent: Vec<Uuid> = absent.map(|node| node.id).collect();
        for id in absent {
            self.change(id, |node| {
                node.is_deleted = true;
                node.capacity = None;
            });
        }
    }

    /// Takes settings and placements as they are stored, unless newer ones are known.
    pub fn reload(&mut self, saved: &Saved, live: Vec<Live>) {
        let id = saved.host_id;
        self.add(id);
        self.change(id, |node| {
            if saved.generation >= node.generation {
                node.setting = saved.setting;
                node.generation = saved.generation;
                node.replace_live(live);
            }
        });
    }

    /// A decision was committed that was made on this generation of a node: it has one more. If another is known already, what
    /// was stored has been read since, and with it what was decided.
    pub fn committed(&mut self, id: Uuid, generation: i64, change: impl FnOnce(&mut Node)) {
        self.add(id);
        self.change(id, |node| {
            if node.generation == generation {
                node.generation += 1;
                change(node);
            }
        });
    }

    /// What is to be saved; it counts as saved then.
    pub fn take_dirty(&mut self, most: usize) -> Vec<Node> {
        let ids: Vec<Uuid> = self.dirty.iter().take(most).copied().collect();
        for id in &ids {
            self.dirty.remove(id);
        }
        ids.iter()
            .filter_map(|id| self.nodes.get(id).cloned())
            .collect()
    }

    /// It could not be saved.
    pub fn still_dirty(&mut self, ids: impl IntoIterator<Item = Uuid>) {
        self.dirty.extend(ids);
    }

    fn placed(&self, tenant_id: &str) -> impl Iterator<Item = (Uuid, Uuid)> + '_ {
        let placed = self.by_tenant.get(tenant_id).into_iter().flatten();
        placed.copied()
    }

    fn add(&mut self, id: Uuid) {
        self.nodes.entry(id).or_insert_with(|| Node::new(id));
    }

    /// One that is nowhere any more.
    fn forget(&mut self, id: Uuid) {
        let is_gone =
            |node: &Node| node.host.is_none() && node.live.is_empty() && node.generation == 0;
        if self.nodes.get(&id).is_some_and(is_gone) {
            self.nodes.remove(&id);
            self.dirty.remove(&id);
            self.shares.remove(&id);
            self.candidates.remove(id);
        }
    }

    /// The only way a node changes: what is kept about it follows.
    fn change(&mut self, id: Uuid, change: impl FnOnce(&mut Node)) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        for live in node.live.values() {
            self.due.remove(&(id, live.id));
            if let Some(placed) = self.by_tenant.get_mut(&live.tenant_id) {
                placed.remove(&(id, live.id));
            }
        }
        let tenants: Vec<String> = node
            .live
            .values()
            .map(|live| live.tenant_id.clone())
            .collect();
        change(node);
        for live in node.live.values() {
            if live.is_due() || node.is_deleted {
                self.due.insert((id, live.id));
            }
            let placed = self.by_tenant.entry(live.tenant_id.clone()).or_default();
            placed.insert((id, live.id));
        }
        for tenant in tenants {
            if self.by_tenant.get(&tenant).is_some_and(BTreeSet::is_empty) {
                self.by_tenant.remove(&tenant);
            }
        }
        let share = Share::of(node);
        if let Some(old) = self.shares.insert(id, share) {
            self.totals.subtract(&old);
        }
        self.totals.add(&share);
        if node.is_node() {
            let candidate = Candidate::of(node, self.cpu_overcommit);
            self.candidates.put(candidate);
        } else {
            self.candidates.remove(id);
        }
    }
}

/// The node's own state, for lists.
pub fn is_in(node: &Node, state: Option<State>) -> bool {
    state.is_none_or(|state| node.state() == state)
}

fn host(record: &HostRecord) -> Host {
    let pooled = record.tags.iter().any(|tag| tag.starts_with(POOL_TAG));
    Host {
        fqdn: record.fqdn.clone(),
        hostname: record.hostname.clone(),
        reserved: record.reserved,
        is_node: record.approval_status == "approved" && !pooled,
    }
}
