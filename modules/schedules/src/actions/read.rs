//! Reads schedules and their runs, and what names a group. Nothing is counted.

use std::collections::HashMap;

use fleetwright_plugin_api::sdk::Server;
use uuid::Uuid;

use super::SchedulesError;
use crate::store::runs::{self, Run};
use crate::store::{self, Header, ListFilter, Work};

/// A schedule with what it launches and its newest run.
pub async fn detail(
    server: &Server,
    id: Uuid,
) -> Result<(Header, Work, Option<Run>), SchedulesError> {
    let found = store::with_work(server.db(), id).await?;
    let (header, work) = found.ok_or(SchedulesError::NotFound)?;
    let newest = runs::newest_of(server.db(), &[id]).await?;
    Ok((header, work, newest.into_iter().next()))
}

/// A page of schedules, each with its newest run, and whether there are more.
pub async fn list(
    server: &Server,
    filter: &ListFilter,
    limit: u32,
) -> Result<(Vec<(Header, Option<Run>)>, bool), SchedulesError> {
    let mut headers = store::list(server.db(), filter, limit + 1).await?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = headers.len() > wanted;
    headers.truncate(wanted);
    let ids: Vec<Uuid> = headers.iter().map(|header| header.id).collect();
    let newest = runs::newest_of(server.db(), &ids).await?;
    let mut newest: HashMap<Uuid, Run> = newest
        .into_iter()
        .map(|run| (run.schedule_id, run))
        .collect();
    let items = headers.into_iter().map(|header| {
        let run = newest.remove(&header.id);
        (header, run)
    });
    Ok((items.collect(), more))
}

/// A page of a schedule's runs, newest first, and whether there are more.
pub async fn runs_of(
    server: &Server,
    id: Uuid,
    before_us: Option<i64>,
    limit: u32,
) -> Result<(Vec<Run>, bool), SchedulesError> {
    let header = store::header(server.db(), id).await?;
    header.ok_or(SchedulesError::NotFound)?;
    let mut found = runs::of_schedule(server.db(), id, before_us, limit + 1).await?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > wanted;
    found.truncate(wanted);
    Ok((found, more))
}
