//! Hosts seen as capacity: what their agents say of it, what an operator decided, and the candidates of a placement.

pub mod http;

use fleetwright_plugin_api::sdk::Server;

/// Starts its loops.
pub fn start(_server: &Server) {}
