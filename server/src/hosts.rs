//! The inventory: hosts, their approval, labels and presence, and the feed that modules follow.

pub mod feed;
pub mod host;
pub mod labels;
pub mod registry;
pub mod store;
