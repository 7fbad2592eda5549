//! Products: the weights by which their jobs are scored.

pub mod actions;
pub mod http;
pub mod store;
