//! Jobs: what they are, the stages they go through, what they wait for, and what people do with them.

pub mod actions;
pub mod decide;
pub mod http;
pub mod job;
pub mod request;
pub mod stage;
pub mod store;
pub mod view;

use fleetwright_plugin_api::sdk::Server;

/// Starts its loops.
pub fn start(server: &Server) {
    let of = server.clone();
    server.spawn("placement-settle", move || actions::settle::run(of.clone()));
}
