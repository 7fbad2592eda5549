//! Hosts seen as capacity: what their agents say of it, what an operator decided, and the candidates of a placement.

pub mod actions;
pub mod candidates;
pub mod feed;
pub mod fleet;
pub mod http;
pub mod node;
pub mod registry;
pub mod store;
pub mod totals;
pub mod view;

/// What placements put into their batches, and how they read what is live.
pub use store::{LIVE_COLUMNS, live, take, touch};

use fleet::Fleet;
use fleetwright_plugin_api::sdk::ModuleError;

/// Starts its loops. Fails on a server that cannot say what agents report.
pub fn start(fleet: &Fleet) -> Result<(), ModuleError> {
    let server = fleet.server().clone();
    server.capacity()?;
    let heard = fleet.clone();
    server.spawn("placement-heartbeats", move || feed::follow(heard.clone()));
    let followed = fleet.clone();
    server.spawn("placement-nodes", move || fleet::follow(followed.clone()));
    let saved = fleet.clone();
    server.spawn("placement-saved", move || fleet::keep_saved(saved.clone()));
    Ok(())
}
