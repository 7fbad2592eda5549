//! Command sets: progress and per-host rows, read from the core, which owns them.

use std::sync::Arc;

use abi_stable::std_types::{RBox, RResult, RVec};
use fleetwright_protocol::{CommandId, HostId, SetId};
use serde::de::DeserializeOwned;

use super::{
    CommandOutput, CommandPage, CommandStatus, CommandView, ServerError, SetCreate, SetPreview,
    SetView,
};
use crate::abi::{AbiError, AbiPayload, SetsApi_TO};
use crate::wire::CommandQuery;

/// `fleet.sets/1`. Changing a set is a step of a [`Batch`](super::Batch).
#[derive(Clone)]
pub struct Sets {
    api: Arc<SetsApi_TO<RBox<()>>>,
}

impl Sets {
    pub(crate) fn new(api: SetsApi_TO<RBox<()>>) -> Self {
        Self { api: Arc::new(api) }
    }

    /// Those of the ids that exist, in no particular order.
    pub async fn get(&self, ids: &[SetId]) -> Result<Vec<SetView>, ServerError> {
        let raw: Vec<u8> = ids.iter().flat_map(|id| *id.as_bytes()).collect();
        decode(self.api.get(raw.into()).await)
    }

    /// As [`get`](Self::get), for one set.
    pub async fn get_one(&self, id: SetId) -> Result<Option<SetView>, ServerError> {
        Ok(self.get(&[id]).await?.pop())
    }

    /// Per-host rows in their frozen order, from ordinal `cursor` (0 to start). `Queued` finds held ones too: both wait.
    pub async fn commands(
        &self,
        set_id: SetId,
        status: Option<CommandStatus>,
        cursor: u64,
        limit: u32,
    ) -> Result<CommandPage, ServerError> {
        let query = CommandQuery {
            set_id,
            status,
            hosts: Vec::new(),
            cursor,
            limit,
        };
        decode(self.api.commands(encode(&query)?).await)
    }

    /// The rows of these hosts, those before ordinal `cursor` left out, in their frozen order. At most 5,000 hosts.
    pub async fn commands_of_hosts(
        &self,
        set_id: SetId,
        hosts: &[HostId],
        cursor: u64,
    ) -> Result<Vec<CommandView>, ServerError> {
        if hosts.is_empty() {
            return Ok(Vec::new());
        }
        let query = CommandQuery {
            set_id,
            status: None,
            hosts: hosts.to_vec(),
            cursor,
            limit: u32::try_from(hosts.len()).unwrap_or(u32::MAX),
        };
        let page: CommandPage = decode(self.api.commands(encode(&query)?).await)?;
        Ok(page.items)
    }

    /// The host's row in the set; none if it is not among its hosts, or its row is not written yet.
    pub async fn command_of_host(
        &self,
        set_id: SetId,
        host_id: HostId,
    ) -> Result<Option<CommandView>, ServerError> {
        let (set, host) = (set_id.as_bytes().to_vec(), host_id.as_bytes().to_vec());
        decode(self.api.command_of_host(set.into(), host.into()).await)
    }

    /// The whole stored output of a command.
    pub async fn output(&self, id: CommandId) -> Result<Option<CommandOutput>, ServerError> {
        decode(self.api.output(id.as_bytes().to_vec().into()).await)
    }

    /// What the set would be if it were created now; stores nothing.
    pub async fn preview(
        &self,
        create: &SetCreate,
        hosts: &[HostId],
    ) -> Result<SetPreview, ServerError> {
        let raw: Vec<u8> = hosts.iter().flat_map(|id| *id.as_bytes()).collect();
        decode(self.api.preview(encode(create)?, raw.into()).await)
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Result<RVec<u8>, ServerError> {
    serde_json::to_vec(value)
        .map(RVec::from)
        .map_err(|error| ServerError::Invalid(error.to_string()))
}

pub(super) fn decode<T: DeserializeOwned>(
    answer: RResult<AbiPayload, AbiError>,
) -> Result<T, ServerError> {
    let payload = answer.into_result()?;
    serde_json::from_slice(&payload.json).map_err(|error| ServerError::Internal(error.to_string()))
}
