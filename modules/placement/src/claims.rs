//! Claims: which job a factory gets next, with seats, preemption, leases and the reaper.

pub mod actions;
pub mod claim;
pub mod claimer;
pub mod commit;
pub mod decide;
pub mod http;
pub mod look;
pub mod reap;
pub mod request;
pub mod score;
pub mod store;
pub mod view;

use fleetwright_plugin_api::sdk::Server;

/// Starts its loops.
pub fn start(server: &Server) {
    let own = server.clone();
    server.spawn("placement-reap", move || reap::reap(own.clone()));
}
