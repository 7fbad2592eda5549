//! Factories: the workers that claim jobs, their seats, and the weights by which jobs are scored.

pub mod actions;
pub mod http;
pub mod store;
