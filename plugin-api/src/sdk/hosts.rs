//! The inventory as a feed: a module keeps its own index at the cost of what changed.

use std::sync::Arc;

use abi_stable::std_types::RBox;
use fleetwright_protocol::HostId;

use super::sets::decode;
use super::{HostChanges, ServerError};
use crate::abi::HostsApi_TO;

/// `fleet.hosts/1`.
#[derive(Clone)]
pub struct Hosts {
    api: Arc<HostsApi_TO<RBox<()>>>,
}

impl Hosts {
    pub(crate) fn new(api: HostsApi_TO<RBox<()>>) -> Self {
        Self { api: Arc::new(api) }
    }

    /// The newest acknowledged revision, without waiting: an index at this revision has read every write made before.
    pub fn revision(&self) -> i64 {
        self.api.revision()
    }

    /// Records and tombstones after a revision, in revision order. From 0 it is a snapshot.
    pub async fn changes(
        &self,
        after_revision: i64,
        limit: u32,
    ) -> Result<HostChanges, ServerError> {
        decode(self.api.changes(after_revision, limit).await)
    }

    /// When each host was last heard of, in µs; those never heard of are left out.
    pub async fn last_seen(&self) -> Result<Vec<(HostId, i64)>, ServerError> {
        let payload = self.api.last_seen().await.into_result()?;
        let (entries, rest) = payload.blob.as_slice().as_chunks::<24>();
        if !rest.is_empty() {
            return Err(ServerError::Internal(
                "the last-seen feed is cut".to_owned(),
            ));
        }
        Ok(entries.iter().filter_map(entry).collect())
    }
}

fn entry(raw: &[u8; 24]) -> Option<(HostId, i64)> {
    let (id, time) = raw.split_first_chunk::<16>()?;
    Some((
        HostId::from_slice(id)?,
        i64::from_le_bytes(*time.first_chunk::<8>()?),
    ))
}
