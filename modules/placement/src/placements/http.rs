//! The routes of placements and tenants.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use fleetwright_plugin_api::sdk::{
    Caller, IfNoneMatch, JsonBody, ListQuery, PathId, Problem, Reply, from_input,
};
use serde_json::Value;
use utoipa::{IntoParams, OpenApi};
use uuid::Uuid;

use super::placer::Placer;
use super::view::{PlacementPage, PlacementView};
use super::{actions, request, store, tenants, view};

/// Its routes as an OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(
    create,
    list,
    one,
    release,
    confirm,
    tenants::http::one,
    tenants::http::vms,
    tenants::http::set_quota
))]
pub struct ApiDocument;

/// Its routes, at their full paths.
pub fn router(placer: Placer) -> Router {
    Router::new()
        .route("/api/v1/fleet/placements", get(list).post(create))
        .route("/api/v1/fleet/placements/{id}", get(one).delete(release))
        .route("/api/v1/fleet/placements/{id}/confirm", post(confirm))
        .route("/api/v1/fleet/tenants/{tenant_id}", get(tenants::http::one))
        .route(
            "/api/v1/fleet/tenants/{tenant_id}/vms",
            get(tenants::http::vms),
        )
        .route(
            "/api/v1/fleet/tenants/{tenant_id}/quota",
            put(tenants::http::set_quota),
        )
        .with_state(placer)
}

#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PlacementFilters {
    /// Of this tenant. A tenant's token sees its own only.
    tenant_id: Option<String>,
    /// On this node.
    node_id: Option<Uuid>,
}

from_input!(PlacementFilters { tenant_id, node_id });

/// Place a VM on a node: a lease, to be confirmed before it expires.
#[utoipa::path(
    post, path = "/fleet/placements", tag = "placements",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = request::PlacementRequest,
    responses(
        (status = 201, description = "Placed", body = PlacementView,
         headers(("location" = String, description = "The placement"), ("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "`tenant_id` is not that of the token"),
        (status = 409, description = "`no-capacity`: `nodes` has the first reason against each, `reasons` counts them; \
         `quota-exceeded`; `vm-placed`; or `in-progress`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`placement-*`: `errors` has everything that is wrong"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn create(
    State(placer): State<Placer>,
    Caller(context): Caller,
    JsonBody(body): JsonBody<Value>,
) -> Result<Reply, Problem> {
    Ok(actions::place(&placer, &context, body).await?)
}

/// Placements, ascending by id, which is the order they were asked for in.
#[utoipa::path(
    get, path = "/fleet/placements", tag = "placements",
    params(PlacementFilters, ("limit" = Option<u32>, Query, description = "1 to 500, default 50"),
           ("cursor" = Option<String>, Query)),
    responses(
        (status = 200, description = "A page", body = PlacementPage),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "`tenant_id` is not that of the token"),
        (status = 422, description = "A filter or the limit is invalid"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn list(
    State(placer): State<Placer>,
    Caller(context): Caller,
    ListQuery { filters, paging }: ListQuery<PlacementFilters>,
) -> Result<Json<PlacementPage>, Problem> {
    let tenant_id = match (context.tenant, filters.tenant_id) {
        (Some(own), Some(other)) if own != other => return Err(Problem::not_found("tenant")),
        (own, asked) => own.or(asked),
    };
    let filter = store::Filter {
        tenant_id,
        node_id: filters.node_id,
        live_only: false,
        after: paging.after()?,
    };
    let limit = paging.limit().saturating_add(1);
    let found = store::list(placer.fleet.server().db(), &filter, limit).await?;
    let page = paging.page(found, |one| one.id, |one| view::placement(&one));
    Ok(Json(PlacementPage {
        items: page.items,
        next_cursor: page.next_cursor,
    }))
}

/// One placement.
#[utoipa::path(
    get, path = "/fleet/placements/{id}", tag = "placements",
    params(("id" = Uuid, Path), ("If-None-Match" = Option<String>, Header)),
    responses(
        (status = 200, description = "The placement", body = PlacementView,
         headers(("etag" = String, description = "The revision"))),
        (status = 304, description = "It is what the client has"),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such placement"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn one(
    State(placer): State<Placer>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    seen: IfNoneMatch,
) -> Result<Response, Problem> {
    let placement = actions::one(&placer, &context, id).await?;
    Ok(seen.reply(placement.revision, || view::placement(&placement)))
}

/// Release a placement. Again is as good as once.
#[utoipa::path(
    delete, path = "/fleet/placements/{id}", tag = "placements",
    params(("id" = Uuid, Path)),
    responses(
        (status = 204, description = "Released, or ended before"),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such placement"),
        (status = 409, description = "`in-progress`: others keep changing it"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn release(
    State(placer): State<Placer>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
) -> Result<StatusCode, Problem> {
    actions::release(&placer, &context, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The VM runs where it was placed. Heartbeats that show it say the same.
#[utoipa::path(
    post, path = "/fleet/placements/{id}/confirm", tag = "placements",
    params(("id" = Uuid, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses(
        (status = 200, description = "Confirmed, now or before", body = PlacementView,
         headers(("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such placement"),
        (status = 409, description = "`invalid-transition`: it has ended, or its time is over; or `in-progress`"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn confirm(
    State(placer): State<Placer>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
) -> Result<Reply, Problem> {
    Ok(actions::confirm(&placer, &context, id).await?)
}
