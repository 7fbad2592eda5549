//! Reads operations: a row and the counters of its sets, nothing counted. Not paging and not HTTP.

use std::collections::HashMap;

use fleetwright_plugin_api::sdk::{Server, ServerError};
use fleetwright_plugin_api::wire::{
    CommandOutput, CommandPage, CommandStatus, CommandView, SetView,
};
use fleetwright_protocol::{HostId, SetId};
use uuid::Uuid;

use crate::error::OperationError;
use crate::kind::{Asked, Header, Kind, Loaded};
use crate::rows;
use crate::status::OperationStatus;
use crate::store::{self, Listing};

/// Stored statuses may lag, so a filter also looks at operations that are open by their rows; after this many reads a page is
/// answered as it is, short but with a cursor, so that one request never scans the table.
const READS_PER_PAGE_MAX: usize = 4;

/// A page of a list: the operations, and where the next page begins.
#[derive(Debug)]
pub struct Listed<K: Kind> {
    pub items: Vec<Loaded<K>>,
    pub next: Option<(i64, Uuid)>,
}

/// One operation.
pub async fn operation<K: Kind>(
    server: &Server,
    tenant: Option<&str>,
    id: Uuid,
) -> Result<Loaded<K>, OperationError> {
    with_set(server, header(server, tenant, id).await?).await
}

/// One operation with what was asked.
pub async fn detail<K: Kind>(
    server: &Server,
    tenant: Option<&str>,
    id: Uuid,
) -> Result<(Loaded<K>, Asked<K>), OperationError> {
    let found = store::with_asked(server.db(), id, tenant).await?;
    let (header, asked) = found.ok_or(OperationError::NotFound)?;
    Ok((with_set(server, header).await?, asked))
}

/// The counters that go with a row. Sets that were swept away take their operation with them.
pub async fn with_set<K: Kind>(
    server: &Server,
    header: Header<K>,
) -> Result<Loaded<K>, OperationError> {
    let found = with_sets(server, vec![header]).await?;
    found.into_iter().next().ok_or(OperationError::NotFound)
}

/// The same for several, in their order; those without sets are left out.
pub async fn with_sets<K: Kind>(
    server: &Server,
    headers: Vec<Header<K>>,
) -> Result<Vec<Loaded<K>>, ServerError> {
    if headers.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<SetId> = headers.iter().flat_map(Header::set_ids).collect();
    let sets = server.sets().get(&ids).await?;
    let mut by_id: HashMap<SetId, SetView> = sets.into_iter().map(|set| (set.id, set)).collect();
    let found = headers.into_iter().filter_map(|header| {
        let set = by_id.remove(&header.set_id)?;
        let rollback = K::rollback_set_id(&header.own).and_then(|id| by_id.remove(&id));
        Some(Loaded {
            header,
            set,
            rollback,
        })
    });
    Ok(found.collect())
}

/// A page of operations, newest first. The status shown is computed, and so is the one a filter compares.
pub async fn list<K: Kind>(
    server: &Server,
    mut listing: Listing,
    status: Option<OperationStatus>,
    limit: u32,
) -> Result<Listed<K>, OperationError> {
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut items: Vec<Loaded<K>> = Vec::new();
    for _read in 0..READS_PER_PAGE_MAX {
        let headers = store::list(server.db(), status.map(K::stored_as), &listing, limit).await?;
        let at_end = headers.len() < wanted;
        let last = headers.last().map(place::<K>);
        for loaded in with_sets(server, headers).await? {
            if status.is_none_or(|status| status == K::status(&loaded)) {
                items.push(loaded);
            }
            if items.len() == wanted {
                let full = items.last().map(|loaded| place(&loaded.header));
                let more = full != last || !at_end;
                let next = full.filter(|_place| more);
                return Ok(Listed { items, next });
            }
        }
        if at_end {
            return Ok(Listed { items, next: None });
        }
        listing.before = last;
    }
    let next = listing.before;
    Ok(Listed { items, next })
}

/// Where an operation stands in lists.
pub fn place<K: Kind>(header: &Header<K>) -> (i64, Uuid) {
    (header.created_at_us, header.id)
}

/// A page of an operation's hosts in their frozen order, with what its rollback did on each.
pub async fn hosts<K: Kind>(
    server: &Server,
    loaded: &Loaded<K>,
    status: Option<CommandStatus>,
    cursor: u64,
    limit: u32,
) -> Result<(CommandPage, HashMap<HostId, CommandView>), OperationError> {
    let page = rows::page(server, &loaded.set, status, cursor, limit).await?;
    let rolled_back = rollback_rows(server, loaded, &page.items).await?;
    let by_host = rolled_back.into_iter().map(|row| (row.host_id, row));
    Ok((page, by_host.collect()))
}

/// What the rollback did on the hosts of these rows, in one read.
async fn rollback_rows<K: Kind>(
    server: &Server,
    loaded: &Loaded<K>,
    rows: &[CommandView],
) -> Result<Vec<CommandView>, ServerError> {
    let (Some(set_id), Some(last)) = (K::rollback_set_id(&loaded.header.own), rows.last()) else {
        return Ok(Vec::new());
    };
    let started = rows.iter().filter(|row| row.started_at_us.is_some());
    let hosts: Vec<HostId> = started.map(|row| row.host_id).collect();
    let from = K::rollback_from(loaded, last.ordinal);
    server.sets().commands_of_hosts(set_id, &hosts, from).await
}

/// One host's row and its stored output, of the operation or of its rollback; empty if it has none yet.
pub async fn output<K: Kind>(
    server: &Server,
    tenant: Option<&str>,
    id: Uuid,
    host_id: HostId,
    of_rollback: bool,
) -> Result<(CommandView, CommandOutput), OperationError> {
    let header: Header<K> = header(server, tenant, id).await?;
    let set_id = if of_rollback {
        K::rollback_set_id(&header.own).ok_or(OperationError::NotFound)?
    } else {
        header.set_id
    };
    let command = server.sets().command_of_host(set_id, host_id).await?;
    let command = command.ok_or(OperationError::NotFound)?;
    let output = server.sets().output(command.id).await?;
    Ok((command, output.unwrap_or_default()))
}

async fn header<K: Kind>(
    server: &Server,
    tenant: Option<&str>,
    id: Uuid,
) -> Result<Header<K>, OperationError> {
    let found = store::header(server.db(), id, tenant).await?;
    found.ok_or(OperationError::NotFound)
}
