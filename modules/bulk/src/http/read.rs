//! Reads: the list, one operation, its progress, its hosts, and one host's output.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use fleetwright_operations::filters::{self, Filters};
use fleetwright_operations::store::Listing;
use fleetwright_operations::view::HostOutput;
use fleetwright_plugin_api::sdk::{
    Caller, IfNoneMatch, PageView, Paging, PathId, PathIds, Problem, QueryParams, Server,
};
use fleetwright_protocol::HostId;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::actions::read;
use crate::decide::Status;
use crate::http::problem::of;
use crate::view::{self, BulkHostPage, BulkPage, BulkProgress};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// `queued`, `running`, `succeeded`, `partial`, `failed` or `cancelled`.
    status: Option<String>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct HostParams {
    /// `queued`, `running`, `succeeded`, `failed` or `skipped`.
    status: Option<String>,
}

/// Bulk operations, newest first.
#[utoipa::path(
    get, path = "/fleet/bulk", tag = "bulk",
    params(ListParams, Filters, ("limit" = Option<u32>, Query, description = "1 to 500, default 50"),
           ("cursor" = Option<String>, Query)),
    responses(
        (status = 200, description = "A page", body = BulkPage),
        (status = 400, description = "`malformed`: the cursor is not one of ours"),
        (status = 422, description = "A filter or the limit is invalid")
    )
)]
pub async fn list(
    State(server): State<Server>,
    Caller(context): Caller,
    QueryParams(params): QueryParams<ListParams>,
    QueryParams(filters): QueryParams<Filters>,
    paging: Paging,
) -> Result<Json<BulkPage>, Problem> {
    let mut found = Vec::new();
    let status = filters::status(
        params.status.as_deref(),
        Status::from_name,
        "a bulk operation",
        &mut found,
    );
    let listing = filters.read(&mut found);
    if !found.is_empty() {
        return Err(Problem::invalid(found));
    }
    let listing = Listing {
        tenant: context.tenant,
        before: paging.cursor()?,
        ..listing
    };
    let listed = read::list(&server, listing, status, paging.limit).await;
    let listed = listed.map_err(of)?;
    let page = PageView::new(listed.items, listed.next.as_ref());
    Ok(Json(BulkPage {
        items: page.items,
        next_cursor: page.next_cursor,
    }))
}

/// One bulk operation with its counters and what was asked.
#[utoipa::path(
    get, path = "/fleet/bulk/{id}", tag = "bulk",
    params(("id" = Uuid, Path), ("If-None-Match" = Option<String>, Header)),
    responses(
        (status = 200, description = "The operation", body = crate::view::BulkOperation,
         headers(("etag" = String, description = "Changes with every counter"))),
        (status = 304, description = "It is what the client has"),
        (status = 404, description = "No such operation")
    )
)]
pub async fn get(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    seen: IfNoneMatch,
) -> Result<Response, Problem> {
    let found = read::detail(&server, context.tenant.as_deref(), id).await;
    let (stored, asked, set) = found.map_err(of)?;
    Ok(seen.reply(set.revision, || view::detail(&stored, asked, &set)))
}

/// How far it is. The five counters always sum to `total`.
#[utoipa::path(
    get, path = "/fleet/bulk/{id}/progress", tag = "bulk",
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "The counters and the status", body = BulkProgress),
        (status = 404, description = "No such operation")
    )
)]
pub async fn progress(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
) -> Result<Json<BulkProgress>, Problem> {
    let found = read::operation(&server, context.tenant.as_deref(), id).await;
    let (_header, set) = found.map_err(of)?;
    Ok(Json(view::progress(id, &set)))
}

/// The result of each host, in the frozen order.
#[utoipa::path(
    get, path = "/fleet/bulk/{id}/hosts", tag = "bulk",
    params(("id" = Uuid, Path), HostParams, ("limit" = Option<u32>, Query, description = "1 to 500, default 50"),
           ("cursor" = Option<String>, Query)),
    responses(
        (status = 200, description = "A page", body = BulkHostPage),
        (status = 400, description = "`malformed`: the cursor is not one of ours"),
        (status = 404, description = "No such operation"),
        (status = 422, description = "The status or the limit is invalid")
    )
)]
pub async fn hosts(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    QueryParams(params): QueryParams<HostParams>,
    paging: Paging,
) -> Result<Json<BulkHostPage>, Problem> {
    let status = filters::host_status(params.status.as_deref());
    let status = status.map_err(|found| Problem::invalid(vec![found]))?;
    let cursor: u64 = paging.cursor()?.unwrap_or_default();
    let tenant = context.tenant.as_deref();
    let commands = read::hosts(&server, tenant, id, status, cursor, paging.limit).await;
    let commands = commands.map_err(of)?;
    let items = commands.items.into_iter().map(view::host).collect();
    let page = PageView::new(items, commands.next_cursor.as_ref());
    Ok(Json(BulkHostPage {
        items: page.items,
        next_cursor: page.next_cursor,
    }))
}

/// What one host printed: all that is stored of both streams.
#[utoipa::path(
    get, path = "/fleet/bulk/{id}/hosts/{host_id}/output", tag = "bulk",
    params(("id" = Uuid, Path), ("host_id" = Uuid, Path)),
    responses(
        (status = 200, description = "Both streams; empty if the host has not finished", body = HostOutput),
        (status = 404, description = "No such operation, or the host is not in it")
    )
)]
pub async fn output(
    State(server): State<Server>,
    Caller(context): Caller,
    PathIds(id, host_id): PathIds<Uuid, HostId>,
) -> Result<Json<HostOutput>, Problem> {
    let found = read::output(&server, context.tenant.as_deref(), id, host_id).await;
    let (command, stored) = found.map_err(of)?;
    Ok(Json(view::output(&command, &stored)))
}
