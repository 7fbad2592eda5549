//! The module API: what the server and a module library tell each other.
//!
//! `abi` holds the only types that cross the boundary; `wire`, `cells` and `info` say what is inside their bytes;
//! `statement` and `rows` are how server and modules ask a database and read what it answers; `product` declares the
//! product's own modules and routes; `guard` keeps panics and runtimes on their own side; `sdk` is the safe side a
//! module author sees.
//! This crate's version is the module-API version.

#![warn(missing_docs)]

pub mod abi;
pub mod cells;
pub mod guard;
pub mod info;
pub mod layout_report;
pub mod product;
pub mod rows;
pub mod sdk;
pub mod statement;
pub mod wire;

pub use fleetwright_protocol as protocol;

/// The module-API version of this server or SDK. A module states a requirement on it (`host_api`).
pub const MODULE_API_VERSION: &str = env!("CARGO_PKG_VERSION");
