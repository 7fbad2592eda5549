//! The fleet's sums, kept as nodes change: nothing is counted when somebody asks. Pure.

use super::node::{Capacity, Node, State};

/// Sums over nodes; memory in MiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub ready: i64,
    pub draining: i64,
    pub stale: i64,
    pub reserved: i64,
    pub memory_total_mb: i64,
    pub memory_available_mb: i64,
    pub cpu_count: i64,
    pub vm_count: i64,
    pub placements: i64,
    pub placed_mb: i64,
    pub placed_vcpus: i64,
    pub held_mb: i64,
}

/// What one node adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share(Totals);

impl Share {
    /// Nothing of a host that is no node.
    pub fn of(node: &Node) -> Self {
        if !node.is_node() {
            return Self::default();
        }
        let state = node.state();
        let capacity = node.capacity.as_ref();
        Self(Totals {
            ready: i64::from(state == State::Ready),
            draining: i64::from(state == State::Draining),
            stale: i64::from(state == State::Stale),
            reserved: i64::from(node.is_reserved()),
            memory_total_mb: capacity.map_or(0, |capacity| capacity.memory_total_mb),
            memory_available_mb: capacity.map_or(0, |capacity| capacity.memory_available_mb),
            cpu_count: capacity.map_or(0, |capacity| capacity.cpu_count),
            vm_count: capacity.and_then(Capacity::vm_count).unwrap_or(0),
            placements: i64::try_from(node.live.len()).unwrap_or(i64::MAX),
            placed_mb: node.live.values().map(|live| live.memory_mb).sum(),
            placed_vcpus: node.vcpus_placed(),
            held_mb: node.held_mb(),
        })
    }
}

impl Totals {
    pub fn add(&mut self, share: &Share) {
        self.each(&share.0, |sum, part| sum.saturating_add(part));
    }

    pub fn subtract(&mut self, share: &Share) {
        self.each(&share.0, |sum, part| sum.saturating_sub(part));
    }

    fn each(&mut self, other: &Self, with: impl Fn(i64, i64) -> i64) {
        let pairs = [
            (&mut self.ready, other.ready),
            (&mut self.draining, other.draining),
            (&mut self.stale, other.stale),
            (&mut self.reserved, other.reserved),
            (&mut self.memory_total_mb, other.memory_total_mb),
            (&mut self.memory_available_mb, other.memory_available_mb),
            (&mut self.cpu_count, other.cpu_count),
            (&mut self.vm_count, other.vm_count),
            (&mut self.placements, other.placements),
            (&mut self.placed_mb, other.placed_mb),
            (&mut self.placed_vcpus, other.placed_vcpus),
            (&mut self.held_mb, other.held_mb),
        ];
        for (sum, part) in pairs {
            *sum = with(*sum, part);
        }
    }
}
