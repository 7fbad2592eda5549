//! The list of operations and its filters.

use axum::Json;
use axum::extract::State;
use fleetwright_plugin_api::sdk::{Caller, PageView, Paging, Problem, QueryParams, Server};
use serde::Deserialize;

use crate::filters::{self, Filters};
use crate::kind::{Kind, problem};
use crate::read;
use crate::store::Listing;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ListParams {
    status: Option<String>,
}

/// Operations, newest first.
pub async fn list<K: Kind>(
    State(server): State<Server>,
    Caller(context): Caller,
    QueryParams(params): QueryParams<ListParams>,
    QueryParams(filters): QueryParams<Filters>,
    paging: Paging,
) -> Result<Json<PageView<K::Summary>>, Problem> {
    let mut found = Vec::new();
    let status = filters::status::<K>(params.status.as_deref(), &mut found);
    let listing = filters.read(&mut found);
    if !found.is_empty() {
        return Err(Problem::invalid(found));
    }
    let listing = Listing {
        tenant: context.tenant,
        before: paging.cursor()?,
        ..listing
    };
    let listed = read::list::<K>(&server, listing, status, paging.limit).await;
    let listed = listed.map_err(problem::<K>)?;
    let items = listed.items.iter().map(K::summary).collect();
    Ok(Json(PageView::new(items, listed.next.as_ref())))
}
