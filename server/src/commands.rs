//! Commands: one operation on one host, the durable unit of delivery; and command sets, one operation over many
//! hosts. What must be exact and fast for single commands, bulk operations and everything later lives here once:
//! sending, start leases, deadlines, expiry, cancellation, results and counters.
//!
//! `decide` says what happens to a command, `store` holds the SQL, `create`/`control`/`reports`/`dispatcher`/`sweep`
//! do it. Nothing is loaded at start-up but the ids of open sets.

pub mod actions;
pub mod blobs;
pub mod control;
pub mod create;
pub mod decide;
mod dispatcher;
mod effects;
pub mod http;
pub mod live_output;
mod materialise;
mod notices;
pub mod outputs;
pub mod report;
pub mod reports;
pub mod retention;
pub mod service;
pub mod store;
mod sweep;
mod view;
pub mod workers;

pub use actions::{CommandError, NewCommand};
pub use service::{Commands, CommandsParts};
