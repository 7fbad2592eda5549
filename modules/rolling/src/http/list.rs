//! The list of deployments and its filters.

use axum::Json;
use axum::extract::State;
use fleetwright_operations::filters::{self, Filters};
use fleetwright_operations::store::Listing;
use fleetwright_plugin_api::sdk::{Caller, PageView, Paging, Problem, QueryParams, Server};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::actions::read;
use crate::decide::state::Status;
use crate::http::problem::of;
use crate::store::ListFilter;
use crate::view::{self, RollingPage};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// A status of a deployment.
    status: Option<String>,
}

/// Rolling deployments, newest first.
#[utoipa::path(
    get, path = "/fleet/rolling", tag = "rolling",
    params(ListParams, Filters, ("limit" = Option<u32>, Query, description = "1 to 500, default 50"),
           ("cursor" = Option<String>, Query)),
    responses(
        (status = 200, description = "A page", body = RollingPage),
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
) -> Result<Json<RollingPage>, Problem> {
    let mut found = Vec::new();
    let status = filters::status(
        params.status.as_deref(),
        Status::from_name,
        "a deployment",
        &mut found,
    );
    let listing = filters.read(&mut found);
    if !found.is_empty() {
        return Err(Problem::invalid(found));
    }
    let filter = ListFilter {
        status,
        listing: Listing {
            tenant: context.tenant,
            before: paging.cursor()?,
            ..listing
        },
    };
    let (standings, next) = read::list(&server, &filter, paging.limit)
        .await
        .map_err(of)?;
    let items = standings.iter().map(view::summary).collect();
    let page = PageView::new(items, next.as_ref());
    Ok(Json(RollingPage {
        items: page.items,
        next_cursor: page.next_cursor,
    }))
}
