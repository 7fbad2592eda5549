//! Budgets: what a product may spend in a window of the calendar, and what is set aside for jobs under way.

pub mod http;
pub mod store;

use fleetwright_plugin_api::sdk::Server;

/// Starts its loops.
pub fn start(_server: &Server) {}
