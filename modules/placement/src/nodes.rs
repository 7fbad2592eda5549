//! Hosts seen as capacity: what their agents say of it, what an operator decided, and the candidates of a placement.

pub mod actions;
pub mod feed;
pub mod fleet;
pub mod http;
pub mod node;
pub mod registry;
pub mod store;
pub mod totals;
pub mod view;

use fleet::Fleet;

/// Starts its loops.
pub fn start(fleet: &Fleet) {
    let server = fleet.server().clone();
    let followed = fleet.clone();
    server.spawn("placement-nodes", move || fleet::follow(followed.clone()));
    let saved = fleet.clone();
    server.spawn("placement-saved", move || fleet::keep_saved(saved.clone()));
}
