//! Placements: leases of a node's memory for a VM, and the tenants they belong to.

pub mod http;

use fleetwright_plugin_api::sdk::Server;

/// Starts its loops.
pub fn start(_server: &Server) {}
