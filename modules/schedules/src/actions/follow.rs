//! Follows launched operations to their ends: what their modules say is what the runs say. Level-triggered: it compares and
//! writes what differs, whoever else does the same.

use std::collections::HashMap;

use fleetwright_operations::calls;
use fleetwright_plugin_api::sdk::{Batch, Server, ServerError};
use uuid::Uuid;

use crate::decide::{Kind, OperationStatus};
use crate::store::runs::{self, Phase, Run};

/// Runs read at once.
pub const PAGE: u32 = 500;

/// The statuses of operations; of those that are no more, none is in the map. `None`: their module cannot be asked now.
pub async fn statuses(
    server: &Server,
    kind: Kind,
    ids: &[Uuid],
) -> Result<Option<HashMap<Uuid, OperationStatus>>, ServerError> {
    let mut found = HashMap::new();
    for chunk in ids.chunks(calls::IDS_MAX) {
        let context = server.own_context();
        match calls::statuses(server, &context, kind.as_str(), chunk).await {
            Ok(known) => found.extend(known.into_iter().map(|one| (one.id, one.status))),
            // An answer of another shape too: a module that was replaced may do better next time.
            Err(error) => {
                tracing::debug!(%error, kind = kind.as_str(), "operations cannot be followed");
                return Ok(None);
            }
        }
    }
    Ok(Some(found))
}

/// Writes what has become of launched runs; gives those that still go on.
pub async fn refresh(server: &Server, launched: Vec<Run>) -> Result<Vec<Run>, ServerError> {
    let mut open = Vec::new();
    let mut batch = Batch::new();
    let now_us = server.now_us();
    for kind in Kind::ALL {
        let (of_kind, ids): (Vec<&Run>, Vec<Uuid>) = launched
            .iter()
            .filter(|run| run.kind == kind)
            .map(|run| (run, run.id))
            .unzip();
        if ids.is_empty() {
            continue;
        }
        let Some(found) = statuses(server, kind, &ids).await? else {
            open.extend(of_kind.into_iter().cloned());
            continue;
        };
        for run in of_kind {
            let status = found.get(&run.id).copied();
            if status.map(OperationStatus::as_str) != Some(run.status.as_str()) {
                batch = batch.sql(runs::followed(run.id, status, now_us));
            }
            if status.is_some_and(|status| !status.is_terminal()) {
                open.push(run.clone());
            }
        }
    }
    if !batch.is_empty() {
        server.db().commit(&server.own_context(), batch).await?;
    }
    Ok(open)
}

/// The runs of these schedules that are not over, as their operations say now, however many there are: those that are
/// launched, and those that are not yet.
pub async fn open_of(server: &Server, schedule_ids: &[Uuid]) -> Result<Vec<Run>, ServerError> {
    let (mut open, mut after) = (Vec::new(), Uuid::nil());
    loop {
        let page = runs::open_of(server.db(), schedule_ids, after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(open);
        };
        after = last.id;
        let (launched, waiting): (Vec<Run>, Vec<Run>) = page
            .into_iter()
            .partition(|run| run.phase == Phase::Launched);
        open.extend(waiting);
        open.extend(refresh(server, launched).await?);
    }
}

/// One pass over everything launched that is not over; gives the operations that are still to be watched, and how many pages
/// there were.
pub async fn follow_all(
    server: &Server,
    watched_max: usize,
) -> Result<(Vec<Run>, u32), ServerError> {
    let (mut watched, mut pages, mut after) = (Vec::new(), 0, Uuid::nil());
    loop {
        let page = runs::launched_after(server.db(), after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok((watched, pages));
        };
        (after, pages) = (last.id, pages + 1);
        let open = refresh(server, page).await?;
        let room = watched_max.saturating_sub(watched.len());
        watched.extend(open.into_iter().take(room));
    }
}
