//! Claims: which job a factory gets next, with seats, preemption, leases and the reaper.

pub mod http;

use fleetwright_plugin_api::sdk::Server;

/// Starts its loops.
pub fn start(_server: &Server) {}
