//! Optimistic concurrency, as the modules have it.

pub use fleetwright_plugin_api::sdk::etag::{IfMatch, of};
