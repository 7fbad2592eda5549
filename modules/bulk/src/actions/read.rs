//! Reads operations: a row of this module and a row of counters, nothing counted. Not paging and not HTTP.

use fleetwright_operations::rows;
use fleetwright_operations::store::Listing;
use fleetwright_plugin_api::sdk::{Server, ServerError};
use fleetwright_plugin_api::wire::{
    CommandOutput, CommandPage, CommandStatus, CommandView, SetView,
};
use fleetwright_protocol::{HostId, SetId};
use uuid::Uuid;

use super::BulkError;
use crate::decide::{self, Status};
use crate::store::{self, Asked, Header, ListFilter};
use crate::view::{self, BulkSummary};

/// Followed statuses lag, so a filter also looks at open operations; after this many reads a page is answered as
/// it is, short but with a cursor, so that one request never scans the table.
const READS_PER_PAGE_MAX: usize = 4;

/// A page of a list: the operations, and where the next page begins.
#[derive(Debug)]
pub struct Listed {
    pub items: Vec<BulkSummary>,
    pub next: Option<(i64, Uuid)>,
}

/// One operation's row and its set's counters.
pub async fn operation(
    server: &Server,
    tenant: Option<&str>,
    id: Uuid,
) -> Result<(Header, SetView), BulkError> {
    let header = store::header(server.db(), id, tenant).await?;
    let header = header.ok_or(BulkError::NotFound)?;
    let set = set(server, header.set_id).await?;
    Ok((header, set))
}

/// One operation with what was asked.
pub async fn detail(
    server: &Server,
    tenant: Option<&str>,
    id: Uuid,
) -> Result<(Header, Asked, SetView), BulkError> {
    let found = store::with_asked(server.db(), id, tenant).await?;
    let (header, asked) = found.ok_or(BulkError::NotFound)?;
    let set = set(server, header.set_id).await?;
    Ok((header, asked, set))
}

/// The counters of a set. A set that was swept away takes its operation with it.
pub async fn set(server: &Server, set_id: SetId) -> Result<SetView, BulkError> {
    let sets = server.sets().get(&[set_id]).await?;
    sets.into_iter().next().ok_or(BulkError::NotFound)
}

/// One host's row and its stored output; empty if it has none yet.
pub async fn output(
    server: &Server,
    tenant: Option<&str>,
    id: Uuid,
    host_id: HostId,
) -> Result<(CommandView, CommandOutput), BulkError> {
    let header = store::header(server.db(), id, tenant).await?;
    let header = header.ok_or(BulkError::NotFound)?;
    let command = server
        .sets()
        .command_of_host(header.set_id, host_id)
        .await?;
    let command = command.ok_or(BulkError::NotFound)?;
    let output = server.sets().output(command.id).await?;
    Ok((command, output.unwrap_or_default()))
}

/// A page of an operation's hosts.
pub async fn hosts(
    server: &Server,
    tenant: Option<&str>,
    id: Uuid,
    status: Option<CommandStatus>,
    cursor: u64,
    limit: u32,
) -> Result<CommandPage, BulkError> {
    let (_header, set) = operation(server, tenant, id).await?;
    Ok(rows::page(server, &set, status, cursor, limit).await?)
}

/// A page of operations, newest first. The status shown is the set's own, and so is the one a filter compares.
pub async fn list(
    server: &Server,
    listing: Listing,
    status: Option<Status>,
    limit: u32,
) -> Result<Listed, BulkError> {
    let mut filter = ListFilter {
        statuses: status.map(candidates).unwrap_or_default(),
        listing,
    };
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut items = Vec::new();
    for _read in 0..READS_PER_PAGE_MAX {
        let headers = store::list(server.db(), &filter, limit).await?;
        let at_end = headers.len() < wanted;
        let last = headers
            .last()
            .map(|header| (header.created_at_us, header.id));
        for (header, set) in with_sets(server, headers).await? {
            if status.is_none_or(|status| status == decide::status(&set)) {
                items.push((header.created_at_us, view::summary(&header, &set)));
            }
            if items.len() == wanted {
                let full = items
                    .last()
                    .map(|(created_at_us, item)| (*created_at_us, item.id));
                let more = full != last || !at_end;
                return Ok(listed(items, full.filter(|_place| more)));
            }
        }
        if at_end {
            return Ok(listed(items, None));
        }
        filter.listing.before = last;
    }
    Ok(listed(items, filter.listing.before))
}

/// Those of the operations whose sets still exist.
pub async fn with_sets(
    server: &Server,
    headers: Vec<Header>,
) -> Result<Vec<(Header, SetView)>, ServerError> {
    if headers.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<SetId> = headers.iter().map(|header| header.set_id).collect();
    let sets = server.sets().get(&ids).await?;
    let mut by_id: std::collections::HashMap<SetId, SetView> =
        sets.into_iter().map(|set| (set.id, set)).collect();
    let pairs = headers.into_iter().filter_map(|header| {
        let set = by_id.remove(&header.set_id)?;
        Some((header, set))
    });
    Ok(pairs.collect())
}

/// The followed statuses an operation of this status may have: its own, or an earlier one.
fn candidates(status: Status) -> Vec<Status> {
    match status {
        Status::Queued => vec![Status::Queued],
        Status::Running => vec![Status::Queued, Status::Running],
        Status::Succeeded | Status::Partial | Status::Failed | Status::Cancelled => {
            vec![status, Status::Queued, Status::Running]
        }
    }
}

fn listed(items: Vec<(i64, BulkSummary)>, next: Option<(i64, Uuid)>) -> Listed {
    Listed {
        items: items.into_iter().map(|(_, item)| item).collect(),
        next,
    }
}
