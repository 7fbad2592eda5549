//! The list of deployments and its filters.

use axum::Json;
use axum::extract::State;
use fleetwright_plugin_api::sdk::{Caller, Host, PageView, Paging, Problem, QueryParams};
use fleetwright_protocol::{OperationType, Violation};
use fleetwright_selector::parse_rfc3339_us;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::actions::read;
use crate::decide::state::Status;
use crate::http::problem::{invalid, of};
use crate::store::ListFilter;
use crate::view::{self, RollingPage};

/// The filters of the list; all must hold.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// A status of a deployment.
    status: Option<String>,
    operation_type: Option<String>,
    /// RFC 3339; exclusive.
    created_after: Option<String>,
    /// RFC 3339; exclusive.
    created_before: Option<String>,
}

/// Rolling deployments, newest first.
#[utoipa::path(
    get, path = "/fleet/rolling", tag = "rolling",
    params(ListParams, ("limit" = Option<u32>, Query, description = "1 to 500, default 50"),
           ("cursor" = Option<String>, Query)),
    responses(
        (status = 200, description = "A page", body = RollingPage),
        (status = 400, description = "`malformed`: the cursor is not one of ours"),
        (status = 422, description = "A filter or the limit is invalid")
    )
)]
pub async fn list(
    State(host): State<Host>,
    Caller(context): Caller,
    QueryParams(params): QueryParams<ListParams>,
    paging: Paging,
) -> Result<Json<RollingPage>, Problem> {
    let filter = ListFilter {
        tenant: context.tenant,
        before: paging.cursor()?,
        ..list_filter(&params).map_err(invalid)?
    };
    let (standings, next) = read::list(&host, &filter, paging.limit).await.map_err(of)?;
    let items = standings.iter().map(view::summary).collect();
    let page = PageView::new(items, next.as_ref());
    Ok(Json(RollingPage {
        items: page.items,
        next_cursor: page.next_cursor,
    }))
}

fn list_filter(params: &ListParams) -> Result<ListFilter, Vec<Violation>> {
    let mut found = Vec::new();
    let mut refuse = |name: &str, detail: &str| {
        found.push(Violation::new(format!("/{name}"), "filter-invalid", detail));
    };
    let status = params.status.as_deref().map(Status::from_name);
    if status == Some(None) {
        refuse("status", "is not a status of a deployment");
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
    Ok(ListFilter {
        status: status.flatten(),
        operation_type: params.operation_type.clone(),
        created_after_us,
        created_before_us,
        ..ListFilter::default()
    })
}
