//! Reads deployments: a row of this module and the counters of its sets, nothing counted. Not paging and not HTTP.

use std::collections::HashMap;

use fleetwright_operations::rows;
use fleetwright_plugin_api::sdk::{Server, ServerError};
use fleetwright_plugin_api::wire::{
    CommandOutput, CommandPage, CommandStatus, CommandView, SetView,
};
use fleetwright_protocol::{HostId, SetId};
use uuid::Uuid;

use super::RollingError;
use crate::store::{self, Asked, Header, ListFilter};

/// A deployment's row with the counters of its sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub header: Header,
    pub set: SetView,
    pub rollback: Option<SetView>,
}

impl Standing {
    /// Rises with every write and every counter.
    pub fn revision(&self) -> i64 {
        let rollback = self.rollback.as_ref().map_or(0, |set| set.revision);
        self.header.generation + self.set.revision + rollback
    }
}

/// One deployment.
pub async fn deployment(
    server: &Server,
    tenant: Option<&str>,
    id: Uuid,
) -> Result<Standing, RollingError> {
    let header = store::header(server.db(), id, tenant).await?;
    let header = header.ok_or(RollingError::NotFound)?;
    standing(server, header).await
}

/// One deployment with what was asked.
pub async fn detail(
    server: &Server,
    tenant: Option<&str>,
    id: Uuid,
) -> Result<(Standing, Asked), RollingError> {
    let found = store::with_asked(server.db(), id, tenant).await?;
    let (header, asked) = found.ok_or(RollingError::NotFound)?;
    Ok((standing(server, header).await?, asked))
}

/// The counters that go with a row. Sets that were swept away take their deployment with them.
pub async fn standing(server: &Server, header: Header) -> Result<Standing, RollingError> {
    let found = standings(server, vec![header]).await?;
    found.into_iter().next().ok_or(RollingError::NotFound)
}

/// The same for several; those without sets are left out.
pub async fn standings(
    server: &Server,
    headers: Vec<Header>,
) -> Result<Vec<Standing>, ServerError> {
    if headers.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<SetId> = headers
        .iter()
        .flat_map(|header| [Some(header.set_id), header.rollback_set_id])
        .flatten()
        .collect();
    let sets = server.sets().get(&ids).await?;
    let mut by_id: HashMap<SetId, SetView> = sets.into_iter().map(|set| (set.id, set)).collect();
    let found = headers.into_iter().filter_map(|header| {
        let set = by_id.remove(&header.set_id)?;
        let rollback = header.rollback_set_id.and_then(|id| by_id.remove(&id));
        Some(Standing {
            header,
            set,
            rollback,
        })
    });
    Ok(found.collect())
}

/// A page of deployments, newest first, and where the next page begins.
pub async fn list(
    server: &Server,
    filter: &ListFilter,
    limit: u32,
) -> Result<(Vec<Standing>, Option<(i64, Uuid)>), RollingError> {
    let headers = store::list(server.db(), filter, limit).await?;
    let full = headers.len() == usize::try_from(limit).unwrap_or(usize::MAX);
    let last = headers
        .last()
        .filter(|_| full)
        .map(|header| (header.created_at_us, header.id));
    Ok((standings(server, headers).await?, last))
}

/// A page of a deployment's hosts in the order of its batches, with what its rollback did on each.
pub async fn hosts(
    server: &Server,
    standing: &Standing,
    status: Option<CommandStatus>,
    cursor: u64,
    limit: u32,
) -> Result<(CommandPage, HashMap<HostId, CommandView>), RollingError> {
    let page = rows::page(server, &standing.set, status, cursor, limit).await?;
    let rolled_back = rollback_rows(server, &standing.header, &page.items).await?;
    let by_host = rolled_back.into_iter().map(|row| (row.host_id, row));
    Ok((page, by_host.collect()))
}

/// What the rollback did on the hosts of these rows, in one read.
async fn rollback_rows(
    server: &Server,
    header: &Header,
    rows: &[CommandView],
) -> Result<Vec<CommandView>, ServerError> {
    let started = rows.iter().filter(|row| row.started_at_us.is_some());
    let hosts: Vec<HostId> = started.map(|row| row.host_id).collect();
    let (Some(set_id), Some(rollback), Some(last)) = (
        header.rollback_set_id,
        &header.machine.rollback,
        rows.last(),
    ) else {
        return Ok(Vec::new());
    };
    let from = rollback.earliest_ordinal(&header.policy, last.ordinal);
    server.sets().commands_of_hosts(set_id, &hosts, from).await
}

/// One host's row and its stored output, of the deployment or of its rollback; empty if it has none yet.
pub async fn output(
    server: &Server,
    tenant: Option<&str>,
    id: Uuid,
    host_id: HostId,
    of_rollback: bool,
) -> Result<(CommandView, CommandOutput), RollingError> {
    let header = store::header(server.db(), id, tenant).await?;
    let header = header.ok_or(RollingError::NotFound)?;
    let set_id = if of_rollback {
        header.rollback_set_id.ok_or(RollingError::NotFound)?
    } else {
        header.set_id
    };
    let command = server.sets().command_of_host(set_id, host_id).await?;
    let command = command.ok_or(RollingError::NotFound)?;
    let output = server.sets().output(command.id).await?;
    Ok((command, output.unwrap_or_default()))
}
