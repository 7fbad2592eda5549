//! The routes of tenants: one, its VMs, its quota.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use fleetwright_plugin_api::sdk::{
    AuditEntry, Batch, CallContext, Caller, IfMatch, IfNoneMatch, JsonBody, ListQuery, Problem,
    Reply, ServerError,
};
use serde_json::{Value, json};

use super::store::{self, Tenant};
use crate::error::{ATTEMPTS_MAX, PlacementError};
use crate::http::path_name::PathName;
use crate::placements::placer::Placer;
use crate::placements::request;
use crate::placements::store as placements;
use crate::placements::view::{self, PlacementPage, TenantView};

/// A tenant, with its quota and what it uses.
#[utoipa::path(
    get, path = "/fleet/tenants/{tenant_id}", tag = "placements",
    params(("tenant_id" = String, Path)),
    responses(
        (status = 200, description = "The tenant", body = TenantView,
         headers(("etag" = String, description = "The revision of its quota"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "Nothing is known of it, or it is not the token's"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn one(
    State(placer): State<Placer>,
    Caller(context): Caller,
    PathName(tenant_id): PathName,
) -> Result<Response, Problem> {
    check(&context, &tenant_id)?;
    let found = store::one(placer.fleet.server().db(), &tenant_id).await?;
    // A token's own tenant is there, if only without placements.
    let own = || {
        context.tenant.as_ref().map(|own| Tenant {
            tenant_id: own.clone(),
            ..Tenant::default()
        })
    };
    let tenant = found.or_else(own);
    let tenant = tenant.ok_or_else(|| Problem::not_found("tenant"))?;
    // What it uses changes without a revision: nobody is told that it is what they have.
    Ok(IfNoneMatch::default().reply(tenant.revision, || view::tenant(&tenant)))
}

/// A tenant's live placements, ascending by id.
#[utoipa::path(
    get, path = "/fleet/tenants/{tenant_id}/vms", tag = "placements",
    params(("tenant_id" = String, Path),
           ("limit" = Option<u32>, Query, description = "1 to 500, default 50"),
           ("cursor" = Option<String>, Query)),
    responses(
        (status = 200, description = "A page; empty for a tenant nothing is known of", body = PlacementPage),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "It is not the token's"),
        (status = 422, description = "The limit is invalid"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn vms(
    State(placer): State<Placer>,
    Caller(context): Caller,
    PathName(tenant_id): PathName,
    ListQuery { paging, .. }: ListQuery<()>,
) -> Result<Json<PlacementPage>, Problem> {
    check(&context, &tenant_id)?;
    let filter = placements::Filter {
        tenant_id: Some(tenant_id),
        live_only: true,
        after: paging.after()?,
        ..placements::Filter::default()
    };
    let limit = paging.limit().saturating_add(1);
    let found = placements::list(placer.fleet.server().db(), &filter, limit).await?;
    let page = paging.page(found, |one| one.id, |one| view::placement(&one));
    Ok(Json(PlacementPage {
        items: page.items,
        next_cursor: page.next_cursor,
    }))
}

/// Limit what a tenant may place. What is placed stays.
#[utoipa::path(
    put, path = "/fleet/tenants/{tenant_id}/quota", tag = "placements",
    params(("tenant_id" = String, Path), ("If-Match" = Option<String>, Header),
           ("Idempotency-Key" = Option<String>, Header)),
    request_body = request::QuotaRequest,
    responses(
        (status = 200, description = "Set", body = TenantView,
         headers(("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "The token is a tenant's"),
        (status = 409, description = "`in-progress`: others keep changing it"),
        (status = 412, description = "`precondition-failed`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`placement-quota-invalid`"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn set_quota(
    State(placer): State<Placer>,
    Caller(context): Caller,
    PathName(tenant_id): PathName,
    seen: IfMatch,
    JsonBody(body): JsonBody<Value>,
) -> Result<Reply, Problem> {
    Ok(set(&placer, &context, tenant_id, &seen, body).await?)
}

async fn set(
    placer: &Placer,
    context: &CallContext,
    tenant_id: String,
    seen: &IfMatch,
    body: Value,
) -> Result<Reply, PlacementError> {
    if context.tenant.is_some() {
        return Err(PlacementError::NotFound("tenant"));
    }
    let asked = request::quota(body)?;
    let db = placer.fleet.server().db();
    for _ in 0..ATTEMPTS_MAX {
        let before = store::one(db, &tenant_id).await?.unwrap_or_default();
        if !seen.matches(before.revision) {
            return Err(Problem::precondition_failed().into());
        }
        let mut after = before.clone();
        after.tenant_id.clone_from(&tenant_id);
        after.quota.vm_count_max = asked.vm_count;
        after.quota.memory_mb_max = asked.memory_mb;
        after.revision += 1;
        let reply = Reply::json(200, &view::tenant(&after))?
            .with_header("etag", format!("\"{}\"", after.revision));
        let batch = store::set(Batch::new(), &after, before.revision)
            .audit(&audit(&after))
            .respond(&reply);
        match db.commit(context, batch).await {
            Ok(()) => return Ok(reply),
            Err(ServerError::Guard { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(PlacementError::Contended)
}

fn check(context: &CallContext, tenant_id: &str) -> Result<(), Problem> {
    match &context.tenant {
        Some(own) if own != tenant_id => Err(Problem::not_found("tenant")),
        Some(_) | None => Ok(()),
    }
}

fn audit(tenant: &Tenant) -> AuditEntry {
    AuditEntry {
        action: "tenant.quota".to_owned(),
        target_kind: "tenant".to_owned(),
        target_id: tenant.tenant_id.clone(),
        detail: json!({
            "vm_count": tenant.quota.vm_count_max,
            "memory_mb": tenant.quota.memory_mb_max,
            "revision": tenant.revision,
        }),
    }
}
