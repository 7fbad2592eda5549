//! Placements: leases of a node's memory for a VM, and the tenants they belong to.

pub mod actions;
pub mod decide;
pub mod http;
pub mod placement;
pub mod placer;
pub mod request;
pub mod store;
pub mod sweep;
pub mod tenants;
pub mod view;

use crate::nodes::fleet::Fleet;

/// Starts its loops.
pub fn start(fleet: &Fleet) {
    let server = fleet.server().clone();
    let swept = fleet.clone();
    server.spawn("placement-sweep", move || sweep::run(swept.clone()));
    let pruned = fleet.clone();
    server.spawn("placement-prune", move || sweep::prune(pruned.clone()));
}
