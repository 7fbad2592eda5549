//! Keeps the stored statuses in step with the sets, so that lists can filter by them, and drops operations whose sets
//! were swept away. Level-triggered: it compares what is stored with what is, may run at any time, twice or on two
//! replicas, and every write is a compare-and-set on the set's revision. Nothing waits for it: reads compute.

use std::time::Duration;

use fleetwright_plugin_api::sdk::{Batch, Server, ServerError};
use fleetwright_plugin_api::wire::SetView;
use futures_util::future::{Either, select};
use uuid::Uuid;

use crate::actions::{EVER, OPERATIONS_SIGNAL, read, set_signal};
use crate::decide;
use crate::store::{self, Header};

/// Operations looked at in one read: 1,000 rows of at most 3 KiB are within its 4 MiB.
pub const PAGE: u32 = 1_000;
/// Sets whose signals are waited for; operations beyond them are followed by the timer.
const WATCHED_MAX: usize = 256;
/// How late a status may be that no signal announced.
const PERIOD: Duration = Duration::from_secs(5);
/// Signals of a busy set come ten times a second; statuses change twice in an operation's life.
const REST: Duration = Duration::from_millis(250);
/// Sets are swept away after days, so their operations may stay an hour longer.
const PRUNE_PERIOD: Duration = Duration::from_secs(3600);
/// An operation and its set are created together; this is only not to race with a commit.
const PRUNE_AGE_US: i64 = 3_600 * 1_000_000;

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
        generation = wake(&server, &followed.watched, generation).await;
        server.sleep(rest(followed.pages)).await;
    }
}

/// Drops operations whose sets are gone, now and every hour.
pub async fn prune_operations(server: Server) {
    loop {
        if let Err(error) = prune_once(&server).await {
            tracing::warn!(error = %error, "bulk operations could not be pruned");
        }
        server.sleep(PRUNE_PERIOD).await;
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
    let mut watched = vec![OPERATIONS_SIGNAL.to_owned()];
    let mut after = Uuid::nil();
    loop {
        let headers = store::open_after(server.db(), after, PAGE).await?;
        let Some(last) = headers.last() else {
            return Ok(Followed { watched, pages });
        };
        pages += 1;
        after = last.id;
        let pairs = read::with_sets(server, headers).await?;
        let open = pairs.iter().filter(|(_, set)| !set.is_finished());
        let room = WATCHED_MAX.saturating_sub(watched.len());
        watched.extend(open.take(room).map(|(header, _)| set_signal(header.set_id)));
        let changed: Vec<&(Header, SetView)> =
            pairs.iter().filter(|pair| is_behind(pair)).collect();
        if !changed.is_empty() {
            write(server, &changed).await?;
        }
    }
}

/// One pass over all operations old enough.
pub async fn prune_once(server: &Server) -> Result<(), ServerError> {
    let before_us = server.now_us().saturating_sub(PRUNE_AGE_US);
    let mut after = Uuid::nil();
    loop {
        let ids = store::ids_created_before(server.db(), before_us, after, PAGE).await?;
        let Some((last, _)) = ids.last() else {
            return Ok(());
        };
        after = *last;
        let set_ids: Vec<_> = ids.iter().map(|(_, set_id)| *set_id).collect();
        let sets = server.sets().get(&set_ids).await?;
        let kept: std::collections::HashSet<_> = sets.iter().map(|set| set.id).collect();
        let gone = ids.iter().filter(|(_, set_id)| !kept.contains(set_id));
        let batch = gone.fold(None, |batch: Option<Batch>, (id, _)| {
            Some(batch.unwrap_or_default().sql(store::delete(*id)))
        });
        if let Some(batch) = batch {
            server.db().commit(&server.own_context(), batch).await?;
        }
    }
}

/// Whether the stored status is not the set's. Counters that moved within one status are not worth a write.
fn is_behind((header, set): &(Header, SetView)) -> bool {
    decide::status(set) != header.status && set.revision > header.status_revision
}

async fn write(server: &Server, changed: &[&(Header, SetView)]) -> Result<(), ServerError> {
    let batch = changed.iter().fold(Batch::new(), |batch, (header, set)| {
        batch.sql(store::follow(header.id, decide::status(set), set.revision))
    });
    server.db().commit(&server.own_context(), batch).await
}

/// A pass reads every open operation, so the more there are the longer the rest: the share of time spent reading stays
/// the same, and statuses are never later than by the timer.
fn rest(pages: u32) -> Duration {
    REST.saturating_mul(pages.max(1)).min(PERIOD)
}

/// Waits for a signal or the timer.
async fn wake(server: &Server, watched: &[String], since: u64) -> u64 {
    let signal = std::pin::pin!(server.signals().wait(watched, since));
    let timer = std::pin::pin!(server.sleep(PERIOD));
    match select(signal, timer).await {
        Either::Left((generation, _)) => generation,
        Either::Right(((), _)) => since,
    }
}
