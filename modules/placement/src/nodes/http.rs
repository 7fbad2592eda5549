//! The routes of nodes, and of the fleet's totals.

use axum::extract::State as Shared;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use fleetwright_plugin_api::sdk::{
    At, Caller, FromInput, IfMatch, IfNoneMatch, JsonBody, ListQuery, PathId, Problem, Reply,
    bounds, from_input, read,
};
use serde_json::Value;
use utoipa::{IntoParams, OpenApi, ToSchema};
use uuid::Uuid;

use super::actions::{self, Change};
use super::fleet::Fleet;
use super::node::{Node, State};
use super::registry::is_in;
use super::view::{self, NodePage, NodeView, StatusView};

/// Its routes as an OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(status, list, one, change))]
pub struct ApiDocument;

/// Its routes, at their full paths.
pub fn router(fleet: Fleet) -> Router {
    Router::new()
        .route("/api/v1/fleet/status", get(status))
        .route("/api/v1/fleet/nodes", get(list))
        .route("/api/v1/fleet/nodes/{id}", get(one).patch(change))
        .with_state(fleet)
}

#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct NodeFilters {
    /// `ready`, `draining` or `stale`.
    #[param(value_type = Option<String>)]
    state: Option<State>,
    reserved: Option<bool>,
}

from_input!(NodeFilters { state, reserved });

/// What an operator decides about a node. What is left out stays.
#[derive(ToSchema)]
pub struct NodeRequest {
    /// Used only where no other node fits.
    reserved: Option<bool>,
    /// False: it takes no new placements.
    schedulable: Option<bool>,
}

from_input!(NodeRequest {
    reserved,
    schedulable
});

impl FromInput for State {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let words = [Self::Ready, Self::Draining, Self::Stale].map(|state| (state.as_str(), state));
        bounds::one_of(&value, at, &words)
    }
}

/// Totals: nodes by state, capacity, in use, held. A tenant's token sees what is its own.
#[utoipa::path(
    get, path = "/fleet/status", tag = "nodes",
    responses(
        (status = 200, description = "The totals", body = StatusView),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn status(
    Shared(fleet): Shared<Fleet>,
    Caller(context): Caller,
) -> Result<Json<StatusView>, Problem> {
    let registry = fleet.read().await?;
    Ok(Json(match &context.tenant {
        None => view::status(&registry),
        Some(tenant) => view::status_of(&registry, tenant),
    }))
}

/// Nodes, ascending by id. A tenant's token sees those that carry something of its own.
#[utoipa::path(
    get, path = "/fleet/nodes", tag = "nodes",
    params(NodeFilters, ("limit" = Option<u32>, Query, description = "1 to 500, default 50"),
           ("cursor" = Option<String>, Query)),
    responses(
        (status = 200, description = "A page", body = NodePage),
        (status = 400, description = "`malformed`"),
        (status = 422, description = "A filter or the limit is invalid"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn list(
    Shared(fleet): Shared<Fleet>,
    Caller(context): Caller,
    ListQuery { filters, paging }: ListQuery<NodeFilters>,
) -> Result<Json<NodePage>, Problem> {
    let after: Option<Uuid> = paging.after()?;
    let most = usize::try_from(paging.limit()).unwrap_or(usize::MAX);
    let tenant = context.tenant.as_deref();
    let wanted = |node: &&Node| {
        let is_reserved = filters.reserved.filter(|_| tenant.is_none());
        is_in(node, filters.state) && is_reserved.is_none_or(|flag| node.is_reserved() == flag)
    };
    let found: Vec<NodeView> = {
        let registry = fleet.read().await?;
        let view = |node: &Node| view::node(node, tenant, false);
        let more = most.saturating_add(1);
        match tenant {
            None => registry
                .nodes_after(after)
                .filter(wanted)
                .take(more)
                .map(view)
                .collect(),
            Some(tenant) => registry
                .nodes_of(tenant)
                .into_iter()
                .filter(|node| after.is_none_or(|after| node.id > after))
                .filter(wanted)
                .take(more)
                .map(view)
                .collect(),
        }
    };
    let page = paging.page(found, |node| node.id, |node| node);
    Ok(Json(NodePage {
        items: page.items,
        next_cursor: page.next_cursor,
    }))
}

/// One node, with the placements on it. A tenant's token sees its own of them.
#[utoipa::path(
    get, path = "/fleet/nodes/{id}", tag = "nodes",
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "The node", body = NodeView,
         headers(("etag" = String, description = "The revision of what an operator decided"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such node, or nothing of the token's tenant is on it"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn one(
    Shared(fleet): Shared<Fleet>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
) -> Result<Response, Problem> {
    let registry = fleet.read().await?;
    let tenant = context.tenant.as_deref();
    let is_seen = |node: &&Node| match tenant {
        None => node.is_node(),
        Some(tenant) => registry.sees(tenant, node.id),
    };
    let node = registry.node(id).filter(is_seen);
    let node = node.ok_or_else(|| Problem::not_found("node"))?;
    // What agents say changes without a revision: nobody is told that it is what they have.
    Ok(IfNoneMatch::default().reply(node.setting.revision, || view::node(node, tenant, true)))
}

/// Reserve or drain a node.
#[utoipa::path(
    patch, path = "/fleet/nodes/{id}", tag = "nodes",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header),
           ("Idempotency-Key" = Option<String>, Header)),
    request_body = NodeRequest,
    responses(
        (status = 200, description = "Changed", body = NodeView,
         headers(("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such node"),
        (status = 409, description = "`in-progress`: others keep changing it"),
        (status = 412, description = "`precondition-failed`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "A field is invalid"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn change(
    Shared(fleet): Shared<Fleet>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    seen: IfMatch,
    JsonBody(body): JsonBody<Value>,
) -> Result<Reply, Problem> {
    let asked: NodeRequest = read(body)?;
    let change = Change {
        reserved: asked.reserved,
        schedulable: asked.schedulable,
    };
    Ok(actions::change(&fleet, &context, id, &seen, change).await?)
}
