//! The schema of this module. The statements stand with what uses them: `jobs/store.rs`, `budgets/store.rs` and so on.

use fleetwright_plugin_api::sdk::Migration;

/// The forward-only history of this module's schema.
pub const MIGRATIONS: [Migration; 1] = [Migration {
    version: 1,
    name: "placement",
    sqlite: include_str!("../migrations/0001_placement.sqlite.sql"),
    postgres: include_str!("../migrations/0001_placement.postgres.sql"),
}];
