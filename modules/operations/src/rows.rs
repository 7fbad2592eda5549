//! The per-host rows of a set, as lists show them.

use std::time::Duration;

use fleetwright_plugin_api::sdk::{Server, ServerError};
use fleetwright_plugin_api::wire::{CommandPage, CommandStatus, SetView};

/// How long, and how often, a page of hosts waits for rows: 100,000 are written in about two seconds.
const ROWS_PAUSE: Duration = Duration::from_millis(100);
const ROWS_LOOKS_MAX: u32 = 10;

/// A page of a set's hosts. The core writes the rows of a large set in the second after its creation: a page that meets
/// the end of what is written waits a little for it, and then says where to go on.
pub async fn page(
    server: &Server,
    set: &SetView,
    status: Option<CommandStatus>,
    cursor: u64,
    limit: u32,
) -> Result<CommandPage, ServerError> {
    let mut look = 0;
    loop {
        let mut page = server
            .sets()
            .commands(set.id, status, cursor, limit)
            .await?;
        let end = page.items.last().map_or(cursor, |last| last.ordinal + 1);
        // With a filter the end of the rows is not seen; all that match so far are told.
        let is_whole = status.is_some() || page.next_cursor.is_some() || end >= set.total;
        if is_whole {
            return Ok(page);
        }
        look += 1;
        if look == ROWS_LOOKS_MAX {
            page.next_cursor = Some(end);
            return Ok(page);
        }
        server.sleep(ROWS_PAUSE).await;
    }
}
