//! Jobs: what they are, the stages they go through, what they wait for, and what people do with them.

pub mod http;
pub mod job;
pub mod stage;
pub mod store;

use fleetwright_plugin_api::sdk::Server;

/// Starts its loops.
pub fn start(_server: &Server) {}
