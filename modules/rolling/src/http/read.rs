//! Reads that only a deployment has: its batches and its moves.

use axum::Json;
use axum::extract::State;
use fleetwright_operations::kind::problem;
use fleetwright_operations::read;
use fleetwright_plugin_api::sdk::{Caller, ListQuery, PathId, Problem, Server};
use uuid::Uuid;

use crate::row::{LoadedDeployment, RollingKind};
use crate::store::history::{self, Move};
use crate::view::{self, RollingBatchPage, RollingTracePage};

/// Its batches, those to come too, in order.
#[utoipa::path(
    get, path = "/fleet/rolling/{id}/batches", tag = "rolling",
    params(("id" = Uuid, Path), ("limit" = Option<u32>, Query, description = "1 to 500, default 50"),
           ("cursor" = Option<String>, Query)),
    responses(
        (status = 200, description = "A page", body = RollingBatchPage),
        (status = 400, description = "`malformed`: the cursor is not one of ours"),
        (status = 404, description = "No such deployment"),
        (status = 422, description = "The limit is invalid")
    )
)]
pub async fn batches(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    ListQuery { paging, .. }: ListQuery,
) -> Result<Json<RollingBatchPage>, Problem> {
    let loaded = deployment(&server, context.tenant.as_deref(), id).await?;
    let after: u64 = paging.after()?.unwrap_or_default();
    let rows = history::batches(server.db(), id, after, paging.limit()).await?;
    let count = loaded.header.own.policy.partition.count();
    let last = count.min(after.saturating_add(u64::from(paging.limit())));
    let numbers = after.saturating_add(1)..=last;
    let next = (last < count).then_some(last);
    let page = paging.page_until(
        numbers,
        next,
        |number| *number,
        |number| {
            let row = rows.iter().find(|row| row.number == number);
            view::batch(&loaded, number, row)
        },
    );
    Ok(Json(RollingBatchPage {
        items: page.items,
        next_cursor: page.next_cursor,
    }))
}

/// Every move from one state to another, with its cause, in order.
#[utoipa::path(
    get, path = "/fleet/rolling/{id}/trace", tag = "rolling",
    params(("id" = Uuid, Path), ("limit" = Option<u32>, Query, description = "1 to 500, default 50"),
           ("cursor" = Option<String>, Query)),
    responses(
        (status = 200, description = "A page", body = RollingTracePage),
        (status = 400, description = "`malformed`: the cursor is not one of ours"),
        (status = 404, description = "No such deployment"),
        (status = 422, description = "The limit is invalid")
    )
)]
pub async fn trace(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    ListQuery { paging, .. }: ListQuery,
) -> Result<Json<RollingTracePage>, Problem> {
    deployment(&server, context.tenant.as_deref(), id).await?;
    let after: i64 = paging.after()?.unwrap_or_default();
    let moves = history::trace(server.db(), id, after, paging.limit()).await?;
    let full = moves.len() == usize::try_from(paging.limit()).unwrap_or(usize::MAX);
    let place = |entry: &Move| entry.generation;
    let next = moves.last().filter(|_| full).map(place);
    let page = paging.page_until(moves, next, place, view::moved);
    Ok(Json(RollingTracePage {
        items: page.items,
        next_cursor: page.next_cursor,
    }))
}

async fn deployment(
    server: &Server,
    tenant: Option<&str>,
    id: Uuid,
) -> Result<LoadedDeployment, Problem> {
    let found = read::operation(server, tenant, id).await;
    found.map_err(problem::<RollingKind>)
}
