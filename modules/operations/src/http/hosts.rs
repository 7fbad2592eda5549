//! The hosts of an operation, and what each has printed.

use axum::Json;
use axum::extract::State;
use fleetwright_plugin_api::sdk::{
    Caller, ListQuery, Page, PathId, PathIds, Problem, Server, StrictQuery, from_input,
};
use fleetwright_plugin_api::wire::{CallContext, CommandView};
use fleetwright_protocol::HostId;
use uuid::Uuid;

use crate::filters;
use crate::kind::{Kind, problem};
use crate::read;
use crate::view::{self, HostOutput};

#[derive(Debug, Default)]
pub struct HostParams {
    status: Option<String>,
}

/// Of a kind that has rollbacks.
#[derive(Debug, Default)]
pub struct OutputParams {
    rollback: Option<bool>,
}

from_input!(HostParams { status });
from_input!(OutputParams { rollback });

/// The result of each host, in the frozen order.
pub async fn hosts<K: Kind>(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    ListQuery {
        filters: params,
        paging,
    }: ListQuery<HostParams>,
) -> Result<Json<Page<K::Host>>, Problem> {
    let status = filters::host_status(params.status.as_deref());
    let status = status.map_err(|found| Problem::invalid(vec![found]))?;
    let cursor: u64 = paging.after()?.unwrap_or_default();
    let found = read::operation::<K>(&server, context.tenant.as_deref(), id).await;
    let loaded = found.map_err(problem::<K>)?;
    let rows = read::hosts(&server, &loaded, status, cursor, paging.limit()).await;
    let (rows, mut rolled_back) = rows.map_err(problem::<K>)?;
    let after = |row: &CommandView| row.ordinal + 1;
    let page = paging.page_until(rows.items, rows.next_cursor, after, |row| {
        let rolled_back = rolled_back.remove(&row.host_id);
        K::host(&loaded, row, rolled_back)
    });
    Ok(Json(page))
}

/// What one host printed: all that is stored of both streams.
pub async fn output<K: Kind>(
    State(server): State<Server>,
    Caller(context): Caller,
    PathIds(id, host_id): PathIds<Uuid, HostId>,
) -> Result<Json<HostOutput>, Problem> {
    stored_output::<K>(&server, &context, id, host_id, false).await
}

/// The same, or what the rollback printed on it.
pub async fn output_of_either<K: Kind>(
    State(server): State<Server>,
    Caller(context): Caller,
    PathIds(id, host_id): PathIds<Uuid, HostId>,
    StrictQuery(params): StrictQuery<OutputParams>,
) -> Result<Json<HostOutput>, Problem> {
    let of_rollback = params.rollback.unwrap_or(false);
    stored_output::<K>(&server, &context, id, host_id, of_rollback).await
}

async fn stored_output<K: Kind>(
    server: &Server,
    context: &CallContext,
    id: Uuid,
    host_id: HostId,
    of_rollback: bool,
) -> Result<Json<HostOutput>, Problem> {
    let tenant = context.tenant.as_deref();
    let found = read::output::<K>(server, tenant, id, host_id, of_rollback).await;
    let (command, stored) = found.map_err(problem::<K>)?;
    Ok(Json(view::output(&command, &stored)))
}
