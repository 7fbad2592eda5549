//! Tenants: what they may place, and what they have placed.

pub mod http;
pub mod store;
