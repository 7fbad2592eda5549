//! Claims: which job a factory gets next, with seats, preemption, leases and the reaper.

pub mod decide;
pub mod http;
pub mod score;

use fleetwright_plugin_api::sdk::Server;

/// Starts its loops.
pub fn start(_server: &Server) {}
