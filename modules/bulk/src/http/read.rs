//! Reads: the list, one operation, its progress, its hosts, and one host's output.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleetwright_operations::http::revision_tag;
use fleetwright_operations::view::HostOutput;
use fleetwright_plugin_api::sdk::{
    Caller, Host, PageView, Paging, PathId, PathIds, Problem, QueryParams,
};
use fleetwright_plugin_api::wire::CommandStatus;
use fleetwright_protocol::{HostId, OperationType, Violation};
use fleetwright_selector::parse_rfc3339_us;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::actions::read;
use crate::decide::Status;
use crate::http::problem::{invalid, of};
use crate::store::ListFilter;
use crate::view::{self, BulkHostPage, BulkPage, BulkProgress};

/// The filters of the list; all must hold.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// `queued`, `running`, `succeeded`, `partial`, `failed` or `cancelled`.
    status: Option<String>,
    operation_type: Option<String>,
    /// RFC 3339; exclusive.
    created_after: Option<String>,
    /// RFC 3339; exclusive.
    created_before: Option<String>,
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
    params(ListParams, ("limit" = Option<u32>, Query, description = "1 to 500, default 50"),
           ("cursor" = Option<String>, Query)),
    responses(
        (status = 200, description = "A page", body = BulkPage),
        (status = 400, description = "`malformed`: the cursor is not one of ours"),
        (status = 422, description = "A filter or the limit is invalid")
    )
)]
pub async fn list(
    State(host): State<Host>,
    Caller(context): Caller,
    QueryParams(params): QueryParams<ListParams>,
    paging: Paging,
) -> Result<Json<BulkPage>, Problem> {
    let (filter, status) = list_filter(&params).map_err(invalid)?;
    let filter = ListFilter {
        tenant: context.tenant,
        before: paging.cursor()?,
        ..filter
    };
    let listed = read::list(&host, filter, status, paging.limit).await;
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
    State(host): State<Host>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let found = read::detail(&host, context.tenant.as_deref(), id).await;
    let (stored, asked, set) = found.map_err(of)?;
    let tag = revision_tag(set.revision);
    if headers.get(header::IF_NONE_MATCH) == Some(&tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let operation = view::detail(&stored, asked, &set);
    Ok(([(header::ETAG, tag)], Json(operation)).into_response())
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
    State(host): State<Host>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
) -> Result<Json<BulkProgress>, Problem> {
    let found = read::operation(&host, context.tenant.as_deref(), id).await;
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
    State(host): State<Host>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    QueryParams(params): QueryParams<HostParams>,
    paging: Paging,
) -> Result<Json<BulkHostPage>, Problem> {
    let status = host_filter(&params).map_err(|found| invalid(vec![found]))?;
    let cursor: u64 = paging.cursor()?.unwrap_or_default();
    let tenant = context.tenant.as_deref();
    let commands = read::hosts(&host, tenant, id, status, cursor, paging.limit).await;
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
    State(host): State<Host>,
    Caller(context): Caller,
    PathIds(id, host_id): PathIds<Uuid, HostId>,
) -> Result<Json<HostOutput>, Problem> {
    let found = read::output(&host, context.tenant.as_deref(), id, host_id).await;
    let (command, stored) = found.map_err(of)?;
    Ok(Json(view::output(&command, &stored)))
}

fn list_filter(params: &ListParams) -> Result<(ListFilter, Option<Status>), Vec<Violation>> {
    let mut found = Vec::new();
    let mut refuse = |name: &str, detail: &str| {
        found.push(Violation::new(format!("/{name}"), "filter-invalid", detail));
    };
    let status = params.status.as_deref().map(Status::from_name);
    if status == Some(None) {
        refuse("status", "is not a status of a bulk operation");
    }
    let kind = params.operation_type.as_deref();
    if kind.is_some_and(|kind| OperationType::from_name(kind).is_none()) {
        refuse("operation_type", "is not an operation type");
    }
    let mut time = |name: &str, text: &Option<String>| {
        let parsed = text.as_deref().map(parse_rfc3339_us);
        if parsed == Some(None) {
            refuse(name, "is not an RFC 3339 time");
        }
        parsed.flatten()
    };
    let created_after_us = time("created_after", &params.created_after);
    let created_before_us = time("created_before", &params.created_before);
    if !found.is_empty() {
        return Err(found);
    }
    let filter = ListFilter {
        operation_type: params.operation_type.clone(),
        created_after_us,
        created_before_us,
        ..ListFilter::default()
    };
    Ok((filter, status.flatten()))
}

fn host_filter(params: &HostParams) -> Result<Option<CommandStatus>, Violation> {
    let Some(name) = params.status.as_deref() else {
        return Ok(None);
    };
    let detail = "must be queued, running, succeeded, failed or skipped";
    let status = view::command_status(name);
    let status = status.ok_or_else(|| Violation::new("/status", "filter-invalid", detail))?;
    Ok(Some(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(name: &str, value: &str) -> ListParams {
        serde_json::from_value(serde_json::json!({ name: value })).unwrap()
    }

    #[test]
    fn filters_are_read_and_wrong_ones_named() {
        let cases = [
            ("status", "partial", true),
            ("status", "paused", false),
            ("status", "", false),
            ("operation_type", "reboot", true),
            ("operation_type", "x' OR 1=1", false),
            ("created_after", "2026-03-01T00:00:00.5Z", true),
            ("created_after", "yesterday", false),
            ("created_before", "2026-03-01T00:00:00+02:00", true),
            ("created_before", "1", false),
        ];
        for (name, value, fits) in cases {
            let read = list_filter(&params(name, value));
            assert_eq!(read.is_ok(), fits, "{name}={value}");
            if let Err(found) = read {
                assert_eq!(found[0].pointer, format!("/{name}"));
            }
        }
    }

    #[test]
    fn hosts_are_filtered_by_the_statuses_people_see() {
        let read = |name: &str| {
            host_filter(&HostParams {
                status: Some(name.to_owned()),
            })
        };
        assert_eq!(read("queued"), Ok(Some(CommandStatus::Queued)));
        assert!(read("held").is_err());
        assert!(read("").is_err());
        assert_eq!(host_filter(&HostParams::default()), Ok(None));
    }
}
