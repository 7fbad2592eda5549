//! Which node a VM goes to. Pure: the same for the same nodes in any order.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use uuid::Uuid;

use crate::settings::Strategy;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub tenant_id: String,
    pub memory_mb: i64,
    pub vcpus: i64,
    pub require_kvm: bool,
    pub preferred: Option<Uuid>,
    /// No other node will do.
    pub preferred_only: bool,
}

/// A node as it is decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub id: Uuid,
    pub is_fresh: bool,
    pub is_schedulable: bool,
    pub is_reserved: bool,
    pub has_kvm: bool,
    /// Available less held, in MiB.
    pub free_mb: i64,
    /// With overcommit, less those of its placements.
    pub free_vcpus: i64,
    pub cpu_load_pct: i64,
}

/// What holds for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    pub headroom_mb: i64,
    pub strategy: Strategy,
}

/// The first reason why a node is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    NotPreferred,
    Stale,
    Draining,
    NoKvm,
    Memory,
    Vcpus,
}

/// Where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub node_id: Uuid,
    /// 2: reserved nodes were looked at too.
    pub pass: i64,
}

/// Why it goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Each node with the first reason against it, ascending by id.
    NoCapacity(Vec<(Uuid, Reason)>),
    UnknownPreferred,
    Quota(Quota),
}

/// What a tenant may have, and has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    pub vm_count_max: Option<i64>,
    pub memory_mb_max: Option<i64>,
    pub vm_count: i64,
    pub memory_mb: i64,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotPreferred => "not-preferred",
            Self::Stale => "stale",
            Self::Draining => "draining",
            Self::NoKvm => "no-kvm",
            Self::Memory => "insufficient-memory",
            Self::Vcpus => "insufficient-vcpus",
        }
    }
}

impl Quota {
    /// Whether that much more is allowed.
    pub fn allows(&self, memory_mb: i64) -> bool {
        let within = |sum: Option<i64>, most: Option<i64>| {
            most.is_none_or(|most| sum.is_some_and(|sum| sum <= most))
        };
        within(self.vm_count.checked_add(1), self.vm_count_max)
            && within(self.memory_mb.checked_add(memory_mb), self.memory_mb_max)
    }
}

/// Chooses one node. Pass 1 looks at nodes that are not reserved; where none fits, pass 2 looks at all.
pub fn place(wanted: &Wanted, nodes: &[Candidate], rules: &Rules) -> Result<Chosen, Refusal> {
    let is_known = |id: Uuid| nodes.iter().any(|node| node.id == id);
    if wanted.preferred.is_some_and(|id| !is_known(id)) {
        return Err(Refusal::UnknownPreferred);
    }
    for pass in [1, 2] {
        let fitting = nodes
            .iter()
            .filter(|node| pass == 2 || !node.is_reserved)
            .filter(|node| against(wanted, node, rules).is_none());
        if let Some(node) = fitting.min_by_key(|node| rank(wanted, node, rules)) {
            let node_id = node.id;
            return Ok(Chosen { node_id, pass });
        }
    }
    let mut reasons: Vec<(Uuid, Reason)> = nodes
        .iter()
        .filter_map(|node| Some((node.id, against(wanted, node, rules)?)))
        .collect();
    reasons.sort_unstable();
    Err(Refusal::NoCapacity(reasons))
}

/// Decides in this order, each on what the ones before it have left. Nodes and tenants are then as after all of them.
pub fn place_all(
    wanted: &[&Wanted],
    nodes: &mut [Candidate],
    tenants: &mut HashMap<String, Quota>,
    rules: &Rules,
) -> Vec<Result<Chosen, Refusal>> {
    let decided = wanted.iter().map(|wanted| {
        let quota = tenants.entry(wanted.tenant_id.clone()).or_default();
        if !quota.allows(wanted.memory_mb) {
            return Err(Refusal::Quota(*quota));
        }
        let chosen = place(wanted, nodes, rules)?;
        quota.vm_count += 1;
        quota.memory_mb += wanted.memory_mb;
        if let Some(node) = nodes.iter_mut().find(|node| node.id == chosen.node_id) {
            node.free_mb = node.free_mb.saturating_sub(wanted.memory_mb);
            node.free_vcpus = node.free_vcpus.saturating_sub(wanted.vcpus);
        }
        Ok(chosen)
    });
    decided.collect()
}

/// The first reason against it.
fn against(wanted: &Wanted, node: &Candidate, rules: &Rules) -> Option<Reason> {
    let needed_mb = wanted.memory_mb.saturating_add(rules.headroom_mb);
    if wanted.preferred_only && wanted.preferred.is_some_and(|id| id != node.id) {
        Some(Reason::NotPreferred)
    } else if !node.is_fresh {
        Some(Reason::Stale)
    } else if !node.is_schedulable {
        Some(Reason::Draining)
    } else if wanted.require_kvm && !node.has_kvm {
        Some(Reason::NoKvm)
    } else if node.free_mb < needed_mb {
        Some(Reason::Memory)
    } else if node.free_vcpus < wanted.vcpus {
        Some(Reason::Vcpus)
    } else {
        None
    }
}

/// The least is taken: a total order, since ids differ.
fn rank(wanted: &Wanted, node: &Candidate, rules: &Rules) -> (bool, i64, i64, Uuid) {
    let left_mb = node.free_mb.saturating_sub(wanted.memory_mb);
    let memory = match rules.strategy {
        Strategy::Spread => left_mb.saturating_neg(),
        Strategy::Binpack => left_mb,
    };
    let is_other = wanted.preferred != Some(node.id);
    (is_other, memory, node.cpu_load_pct, node.id)
}
