//! Keeps the stored statuses in step with the sets, so that lists can filter by them. Level-triggered: it compares what is stored with what is, may run at any time, twice or on two
//! replicas, and every write is a compare-and-set on the set's revision. Nothing waits for it: reads compute.

use std::time::Duration;

use fleetwright_operations::signals::{EVER, of_set, wake};
use fleetwright_operations::store::open_after;
use fleetwright_operations::{Kind, read};
use fleetwright_plugin_api::sdk::{Batch, Server, ServerError};
use uuid::Uuid;

use crate::decide;
use crate::row::{BulkKind, LoadedBulk};
use crate::store;

/// Operations looked at in one read: 1,000 rows of at most 3 KiB are within its 4 MiB.
pub const PAGE: u32 = 1_000;
/// Sets whose signals are waited for; operations beyond them are followed by the timer.
const WATCHED_MAX: usize = 256;
/// How late a status may be that no signal announced.
const PERIOD: Duration = Duration::from_secs(5);
/// Signals of a busy set come ten times a second; statuses change twice in an operation's life.
const REST: Duration = Duration::from_millis(250);
/// Follows the open operations until the module is stopped.
pub async fn follow_statuses(server: Server) {
    let mut generation = EVER;
    loop {
        let followed = match follow_once(&server).await {
            Ok(followed) => followed,
            Err(error) => {
                tracing::warn!(error = %error, "bulk statuses could not be followed");
                Followed::default()
            }
        };
        generation = wake(&server, &followed.watched, generation, PERIOD).await;
        server.sleep(rest(followed.pages)).await;
    }
}

/// What a pass over the open operations found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// The signals that would change a status.
    pub watched: Vec<String>,
    /// How many pages of open operations there were.
    pub pages: u32,
}

/// One pass over the open operations.
pub async fn follow_once(server: &Server) -> Result<Followed, ServerError> {
    let mut pages = 0;
    let mut watched = vec![BulkKind::NAMES.signal.to_owned()];
    let mut after = Uuid::nil();
    loop {
        let headers = open_after::<BulkKind>(server.db(), after, PAGE).await?;
        let Some(last) = headers.last() else {
            return Ok(Followed { watched, pages });
        };
        pages += 1;
        after = last.id;
        let found = read::with_sets(server, headers).await?;
        let open = found.iter().filter(|loaded| !loaded.set.is_finished());
        let room = WATCHED_MAX.saturating_sub(watched.len());
        watched.extend(open.take(room).map(|loaded| of_set(loaded.header.set_id)));
        let changed: Vec<&LoadedBulk> = found.iter().filter(|loaded| is_behind(loaded)).collect();
        if !changed.is_empty() {
            write(server, &changed).await?;
        }
    }
}

/// Whether the stored status is not the set's. Counters that moved within one status are not worth a write.
fn is_behind(loaded: &LoadedBulk) -> bool {
    let stored = &loaded.header.own;
    decide::status(&loaded.set) != stored.status && loaded.set.revision > stored.status_revision
}

async fn write(server: &Server, changed: &[&LoadedBulk]) -> Result<(), ServerError> {
    let batch = changed.iter().fold(Batch::new(), |batch, loaded| {
        let (id, set) = (loaded.header.id, &loaded.set);
        batch.sql(store::follow(id, decide::status(set), set.revision))
    });
    server.db().commit(&server.own_context(), batch).await
}

/// A pass reads every open operation, so the more there are the longer the rest: the share of time spent reading stays
/// the same, and statuses are never later than by the timer.
fn rest(pages: u32) -> Duration {
    REST.saturating_mul(pages.max(1)).min(PERIOD)
}
