//! Which node a VM goes to. Pure.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::nodes::candidates::{Candidate, Candidates};
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
    /// [`explain`] says why.
    NoCapacity,
    UnknownPreferred,
    Quota(Quota),
}

/// What is against the nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// Of all of them.
    pub counts: BTreeMap<Reason, usize>,
    /// The first ones, each with the first reason against it, ascending by id.
    pub nodes: Vec<(Uuid, Reason)>,
}

/// The nodes, with what has been decided on them in this round and is not stored yet.
#[derive(Debug)]
pub struct Round<'a> {
    nodes: &'a Candidates,
    taken: HashMap<Uuid, Candidate>,
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

impl<'a> Round<'a> {
    pub fn new(nodes: &'a Candidates) -> Self {
        Self {
            nodes,
            taken: HashMap::new(),
        }
    }

    /// As it is after what was decided on it.
    pub fn get(&self, id: Uuid) -> Option<Candidate> {
        let taken = self.taken.get(&id);
        taken.or_else(|| self.nodes.get(id)).copied()
    }

    fn take(&mut self, id: Uuid, wanted: &Wanted) {
        if let Some(mut node) = self.get(id) {
            node.free_mb = node.free_mb.saturating_sub(wanted.memory_mb);
            node.free_vcpus = node.free_vcpus.saturating_sub(wanted.vcpus);
            self.taken.insert(id, node);
        }
    }
}

/// Chooses one node. Pass 1 looks at nodes that are not reserved; where none fits, pass 2 looks at reserved ones too.
pub fn place(wanted: &Wanted, round: &Round<'_>, rules: &Rules) -> Result<Chosen, Refusal> {
    if wanted.preferred.is_some_and(|id| round.get(id).is_none()) {
        return Err(Refusal::UnknownPreferred);
    }
    // In pass 2 none of those fits that are not reserved: it is the others that matter.
    let passes = [(1, false), (2, true)].into_iter();
    let mut found = passes.filter_map(|(pass, is_reserved)| {
        let node_id = pick(wanted, round, rules, is_reserved)?;
        Some(Chosen { node_id, pass })
    });
    found.next().ok_or(Refusal::NoCapacity)
}

/// Decides in this order, each on what the ones before it have left. Nodes and tenants are then as after all of them.
pub fn place_all(
    wanted: &[&Wanted],
    round: &mut Round<'_>,
    tenants: &mut HashMap<String, Quota>,
    rules: &Rules,
) -> Vec<Result<Chosen, Refusal>> {
    let decided = wanted.iter().map(|wanted| {
        let quota = tenants.entry(wanted.tenant_id.clone()).or_default();
        if !quota.allows(wanted.memory_mb) {
            return Err(Refusal::Quota(*quota));
        }
        let chosen = place(wanted, round, rules)?;
        quota.vm_count += 1;
        quota.memory_mb += wanted.memory_mb;
        round.take(chosen.node_id, wanted);
        Ok(chosen)
    });
    decided.collect()
}

/// Looks at all nodes, and names so many.
pub fn explain(wanted: &Wanted, round: &Round<'_>, rules: &Rules, named: usize) -> Explanation {
    let mut explanation = Explanation::default();
    for node in round.nodes.all() {
        let node = round.taken.get(&node.id).unwrap_or(node);
        let Some(reason) = against(wanted, node, rules) else {
            continue;
        };
        *explanation.counts.entry(reason).or_default() += 1;
        if explanation.nodes.len() < named {
            explanation.nodes.push((node.id, reason));
        }
    }
    explanation
}

/// The preferred node if it fits; else the first in rank that does, of those without and those with something decided on them.
fn pick(wanted: &Wanted, round: &Round<'_>, rules: &Rules, is_reserved: bool) -> Option<Uuid> {
    let fits = |node: &Candidate| {
        node.is_reserved == is_reserved && against(wanted, node, rules).is_none()
    };
    let preferred = wanted.preferred.and_then(|id| round.get(id));
    if let Some(node) = preferred.filter(fits) {
        return Some(node.id);
    }
    if wanted.preferred_only {
        return None;
    }
    let least_mb = wanted.memory_mb.saturating_add(rules.headroom_mb);
    let untouched = |node: &Candidate| !round.taken.contains_key(&node.id) && fits(node);
    let nodes = round.nodes;
    let untouched = nodes.best(is_reserved, wanted.require_kvm, least_mb, untouched);
    let taken = round.taken.values().filter(|node| fits(node));
    let first = untouched.into_iter().chain(taken);
    let first = first.min_by_key(|node| node.rank(rules.strategy));
    first.map(|node| node.id)
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
