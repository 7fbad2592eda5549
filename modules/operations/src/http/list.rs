//! The list of operations and its filters.

use axum::Json;
use axum::extract::State;
use fleetwright_plugin_api::sdk::{Caller, ListQuery, Page, Problem, Server, from_input};

use crate::filters::{self, Filters};
use crate::kind::{Kind, Loaded, problem};
use crate::read;
use crate::store::Listing;

#[derive(Debug, Default)]
pub struct ListParams {
    status: Option<String>,
}

from_input!(ListParams { status });

/// Operations, newest first.
pub async fn list<K: Kind>(
    State(server): State<Server>,
    Caller(context): Caller,
    ListQuery {
        filters: (params, filters),
        paging,
    }: ListQuery<(ListParams, Filters)>,
) -> Result<Json<Page<K::Summary>>, Problem> {
    let mut found = Vec::new();
    let status = filters::status::<K>(params.status.as_deref(), &mut found);
    let listing = filters.read(&mut found);
    if !found.is_empty() {
        return Err(Problem::invalid(found));
    }
    let listing = Listing {
        tenant: context.tenant,
        before: paging.after()?,
        ..listing
    };
    let listed = read::list::<K>(&server, listing, status, paging.limit()).await;
    let listed = listed.map_err(problem::<K>)?;
    let place = |loaded: &Loaded<K>| read::place(&loaded.header);
    let view = |loaded| K::summary(&loaded);
    Ok(Json(paging.page_until(
        listed.items,
        listed.next,
        place,
        view,
    )))
}
