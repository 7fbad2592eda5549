//! What agents say of their machines with every heartbeat: a feed in memory, at the cost of what is new.

use std::sync::Arc;

use abi_stable::std_types::RBox;

use super::sets::decode;
use super::{CapacityChanges, ServerError};
use crate::abi::CapacityApi_TO;

/// The signal that heartbeats came; at most five times a second.
pub const CAPACITY_SIGNAL: &str = "capacity";

/// `fleet.capacity/1`.
#[derive(Clone)]
pub struct Capacity {
    api: Arc<CapacityApi_TO<RBox<()>>>,
}

impl Capacity {
    pub(crate) fn new(api: CapacityApi_TO<RBox<()>>) -> Self {
        Self { api: Arc::new(api) }
    }

    /// The machines heard of after a sequence, in the order in which they were; a page may hold fewer than `limit` and there be
    /// `more`. From 0 it is all that are online. A sequence of another life of the server is answered from 0 if it is one that
    /// this life has not reached; compare `epoch` in any case.
    pub async fn changes(&self, after: u64, limit: u32) -> Result<CapacityChanges, ServerError> {
        decode(self.api.changes(after, limit).await)
    }
}
