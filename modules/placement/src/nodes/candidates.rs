//! The nodes as they are decided on, those that can take something in the order in which they are preferred: a decision looks at
//! the first of them and not at the whole fleet. Pure.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::node::Node;
use crate::settings::Strategy;

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
    /// What a decision on it is committed on.
    pub generation: i64,
}

/// All of them, for one strategy.
#[derive(Debug)]
pub struct Candidates {
    strategy: Strategy,
    all: BTreeMap<Uuid, Candidate>,
    /// Those that are fresh and schedulable and have a vCPU left; by whether they are reserved and whether they have KVM.
    ready: BTreeMap<(bool, bool), BTreeSet<Rank>>,
}

/// The lesser is preferred: memory as the strategy has it, CPU load, id. A total order, since ids differ.
pub type Rank = (i64, i64, Uuid);

impl Candidate {
    pub fn of(node: &Node, cpu_overcommit: f64) -> Self {
        let capacity = node.capacity.as_ref();
        let available = capacity.map_or(0, |capacity| capacity.memory_available_mb);
        let cpus = capacity.map_or(0, |capacity| capacity.cpu_count);
        Self {
            id: node.id,
            is_fresh: node.is_fresh,
            is_schedulable: node.setting.schedulable,
            is_reserved: node.is_reserved(),
            has_kvm: capacity.is_some_and(|capacity| capacity.kvm_available),
            free_mb: available.saturating_sub(node.held_mb()),
            free_vcpus: vcpus(cpus, cpu_overcommit).saturating_sub(node.vcpus_placed()),
            cpu_load_pct: capacity.map_or(0, |capacity| capacity.cpu_load_pct),
            generation: node.generation,
        }
    }

    /// What is asked for takes as much of each: the order is that of what is left.
    pub fn rank(&self, strategy: Strategy) -> Rank {
        let memory = match strategy {
            Strategy::Spread => self.free_mb.saturating_neg(),
            Strategy::Binpack => self.free_mb,
        };
        (memory, self.cpu_load_pct, self.id)
    }

    fn is_ready(&self) -> bool {
        self.is_fresh && self.is_schedulable && self.free_vcpus > 0
    }
}

impl Candidates {
    pub fn new(strategy: Strategy) -> Self {
        Self {
            strategy,
            all: BTreeMap::new(),
            ready: BTreeMap::new(),
        }
    }

    pub fn get(&self, id: Uuid) -> Option<&Candidate> {
        self.all.get(&id)
    }

    /// Ascending by id.
    pub fn all(&self) -> impl Iterator<Item = &Candidate> {
        self.all.values()
    }

    /// Adds one, or takes it in place of what was known of it.
    pub fn put(&mut self, candidate: Candidate) {
        self.remove(candidate.id);
        if candidate.is_ready() {
            let shelf = (candidate.is_reserved, candidate.has_kvm);
            let shelf = self.ready.entry(shelf).or_default();
            shelf.insert(candidate.rank(self.strategy));
        }
        self.all.insert(candidate.id, candidate);
    }

    pub fn remove(&mut self, id: Uuid) {
        let Some(old) = self.all.remove(&id) else {
            return;
        };
        if let Some(shelf) = self.ready.get_mut(&(old.is_reserved, old.has_kvm)) {
            shelf.remove(&old.rank(self.strategy));
        }
    }

    /// The preferred one of those that are reserved, or not, and have so much free, and fit. Those that do not are passed over
    /// one by one.
    pub fn best(
        &self,
        is_reserved: bool,
        needs_kvm: bool,
        least_mb: i64,
        fits: impl Fn(&Candidate) -> bool,
    ) -> Option<&Candidate> {
        let (from, to) = match self.strategy {
            Strategy::Spread => (i64::MIN, least_mb.saturating_neg()),
            Strategy::Binpack => (least_mb, i64::MAX),
        };
        let range = (from, i64::MIN, Uuid::nil())..=(to, i64::MAX, Uuid::max());
        let shelves = [true, false]
            .into_iter()
            .filter(|has_kvm| *has_kvm || !needs_kvm)
            .filter_map(|has_kvm| self.ready.get(&(is_reserved, has_kvm)));
        shelves
            .filter_map(|shelf| {
                let ranked = shelf.range(range.clone());
                let mut candidates = ranked.filter_map(|(_, _, id)| self.all.get(id));
                candidates.find(|candidate| fits(candidate))
            })
            .min_by_key(|candidate| candidate.rank(self.strategy))
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a node has at most 2^20 CPUs; a factor of any size ends at the largest number"
)]
fn vcpus(cpus: i64, overcommit: f64) -> i64 {
    (cpus as f64 * overcommit).floor() as i64
}
