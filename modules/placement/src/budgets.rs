//! Budgets: what a product may spend in a window of the calendar, and what is set aside for jobs under way.

pub mod actions;
pub mod calendar;
pub mod controller;
pub mod decide;
pub mod http;
pub mod money;
pub mod request;
pub mod store;
pub mod view;

use fleetwright_plugin_api::sdk::Server;

use crate::settings::Settings;

/// Starts its loops.
pub fn start(server: &Server) {
    let of = server.clone();
    server.spawn("placement-budgets", move || {
        let is_enforced = Settings::of(&of).budgets;
        controller::keep_windows(of.clone(), is_enforced)
    });
}
