//! Reads of one deployment: itself, its progress, batches, hosts, moves, and one host's output.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use fleetwright_operations::filters;
use fleetwright_operations::view::{HostOutput, output as output_view};
use fleetwright_plugin_api::sdk::{
    Caller, IfNoneMatch, PageView, Paging, PathId, PathIds, Problem, QueryParams, Server,
};
use fleetwright_protocol::HostId;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::actions::read;
use crate::http::problem::of;
use crate::store::history;
use crate::view::{self, RollingBatchPage, RollingHostPage, RollingProgress, RollingTracePage};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct HostParams {
    /// `queued`, `running`, `succeeded`, `failed` or `skipped`. Those of batches to come are `queued`.
    status: Option<String>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct OutputParams {
    /// The output of the rollback, not of the deployment.
    rollback: bool,
}

/// One rolling deployment with its counters and what was asked.
#[utoipa::path(
    get, path = "/fleet/rolling/{id}", tag = "rolling",
    params(("id" = Uuid, Path), ("If-None-Match" = Option<String>, Header)),
    responses(
        (status = 200, description = "The deployment", body = crate::view::RollingDeployment,
         headers(("etag" = String, description = "Changes with every move and counter"))),
        (status = 304, description = "It is what the client has"),
        (status = 404, description = "No such deployment")
    )
)]
pub async fn get(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    seen: IfNoneMatch,
) -> Result<Response, Problem> {
    let found = read::detail(&server, context.tenant.as_deref(), id).await;
    let (standing, asked) = found.map_err(of)?;
    Ok(seen.reply(standing.revision(), || view::detail(&standing, asked)))
}

/// How far it is. The five counters always sum to `total`.
#[utoipa::path(
    get, path = "/fleet/rolling/{id}/progress", tag = "rolling",
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "The counters and the status", body = RollingProgress),
        (status = 404, description = "No such deployment")
    )
)]
pub async fn progress(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
) -> Result<Json<RollingProgress>, Problem> {
    let found = read::deployment(&server, context.tenant.as_deref(), id).await;
    Ok(Json(view::progress_of(&found.map_err(of)?)))
}

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
    paging: Paging,
) -> Result<Json<RollingBatchPage>, Problem> {
    let found = read::deployment(&server, context.tenant.as_deref(), id).await;
    let standing = found.map_err(of)?;
    let after: u64 = paging.cursor()?.unwrap_or_default();
    let rows = history::batches(server.db(), id, after, paging.limit).await?;
    let count = standing.header.policy.partition.count();
    let last = count.min(after.saturating_add(u64::from(paging.limit)));
    let numbers = after.saturating_add(1)..=last;
    let items = numbers.map(|number| {
        let row = rows.iter().find(|row| row.number == number);
        view::batch(&standing, number, row)
    });
    let next = (last < count).then_some(last);
    let page = PageView::new(items.collect(), next.as_ref());
    Ok(Json(RollingBatchPage {
        items: page.items,
        next_cursor: page.next_cursor,
    }))
}

/// The result of each host, in the order of the batches, with what a rollback did on it.
#[utoipa::path(
    get, path = "/fleet/rolling/{id}/hosts", tag = "rolling",
    params(("id" = Uuid, Path), HostParams, ("limit" = Option<u32>, Query, description = "1 to 500, default 50"),
           ("cursor" = Option<String>, Query)),
    responses(
        (status = 200, description = "A page", body = RollingHostPage),
        (status = 400, description = "`malformed`: the cursor is not one of ours"),
        (status = 404, description = "No such deployment"),
        (status = 422, description = "The status or the limit is invalid")
    )
)]
pub async fn hosts(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    QueryParams(params): QueryParams<HostParams>,
    paging: Paging,
) -> Result<Json<RollingHostPage>, Problem> {
    let status = filters::host_status(params.status.as_deref());
    let status = status.map_err(|found| Problem::invalid(vec![found]))?;
    let cursor: u64 = paging.cursor()?.unwrap_or_default();
    let found = read::deployment(&server, context.tenant.as_deref(), id).await;
    let standing = found.map_err(of)?;
    let rows = read::hosts(&server, &standing, status, cursor, paging.limit).await;
    let (rows, mut rolled_back) = rows.map_err(of)?;
    let policy = &standing.header.policy;
    let items = rows.items.into_iter();
    let items = items.map(|row| view::rolling_host(policy, row, &mut rolled_back));
    let page = PageView::new(items.collect(), rows.next_cursor.as_ref());
    Ok(Json(RollingHostPage {
        items: page.items,
        next_cursor: page.next_cursor,
    }))
}

/// What one host printed: all that is stored of both streams.
#[utoipa::path(
    get, path = "/fleet/rolling/{id}/hosts/{host_id}/output", tag = "rolling",
    params(("id" = Uuid, Path), ("host_id" = Uuid, Path), OutputParams),
    responses(
        (status = 200, description = "Both streams; empty if the host has not finished", body = HostOutput),
        (status = 404, description = "No such deployment, or the host is not in it")
    )
)]
pub async fn output(
    State(server): State<Server>,
    Caller(context): Caller,
    PathIds(id, host_id): PathIds<Uuid, HostId>,
    QueryParams(params): QueryParams<OutputParams>,
) -> Result<Json<HostOutput>, Problem> {
    let tenant = context.tenant.as_deref();
    let found = read::output(&server, tenant, id, host_id, params.rollback).await;
    let (command, stored) = found.map_err(of)?;
    Ok(Json(output_view(&command, &stored)))
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
    paging: Paging,
) -> Result<Json<RollingTracePage>, Problem> {
    let found = read::deployment(&server, context.tenant.as_deref(), id).await;
    found.map_err(of)?;
    let after: i64 = paging.cursor()?.unwrap_or_default();
    let moves = history::trace(server.db(), id, after, paging.limit).await?;
    let full = moves.len() == usize::try_from(paging.limit).unwrap_or(usize::MAX);
    let next = moves.last().filter(|_| full).map(|last| last.generation);
    let items = moves.into_iter().map(view::moved).collect();
    let page = PageView::new(items, next.as_ref());
    Ok(Json(RollingTracePage {
        items: page.items,
        next_cursor: page.next_cursor,
    }))
}
