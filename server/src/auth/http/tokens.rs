//! API tokens, for administrators.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::AppState;
use crate::audit::AuditContext;
use crate::auth::actions::tokens::{self, CreatedTokenView, NewToken, TokenView};
use crate::auth::{Caller, Role, store};
use crate::http::created::Created;
use crate::http::{JsonBody, ListQuery, Page, PageParameters, PathId, Problem, from_input};

#[derive(ToSchema)]
pub struct CreateToken {
    #[schema(min_length = 1, max_length = 120)]
    name: String,
    role: Role,
    /// Areas such as `hosts`, `commands:read`, `fleet`, `fleet.bulk`; whatever runs something needs `operations`. Absent or
    /// empty: everything the role may do, or what the token may that makes this one.
    scopes: Option<Vec<String>>,
    /// A token with a tenant reaches only what belongs to it.
    tenant: Option<String>,
    /// Absent: until revoked, or as long as the token that makes this one.
    #[schema(minimum = 1)]
    expires_in_seconds: Option<u64>,
}

from_input!(CreateToken {
    name,
    role,
    scopes,
    tenant,
    expires_in_seconds
});

/// List API tokens
#[utoipa::path(get, path = "/tokens", tag = "tokens", params(PageParameters),
    responses((status = 200, body = Page<TokenView>)))]
pub async fn list(
    State(app): State<AppState>,
    ListQuery { paging, .. }: ListQuery,
) -> Result<Json<Page<TokenView>>, Problem> {
    let rows = store::tokens::page(&app.db, paging.after()?, paging.limit() + 1).await?;
    Ok(Json(paging.page(rows, |token| token.id, TokenView::from)))
}

/// Create an API token
///
/// The answer is the only place where the token is shown. It belongs to whoever makes it, or to the owner of the token that
/// does: it dies with them, and has no more rights than they have. A token makes none that reaches further than itself in role,
/// scopes, tenant or time: 403, with what exceeds it. What is left out is its own.
#[utoipa::path(post, path = "/tokens", tag = "tokens", request_body = CreateToken,
    responses((status = 201, body = CreatedTokenView)))]
pub async fn create(
    State(app): State<AppState>,
    caller: Caller,
    JsonBody(body): JsonBody<CreateToken>,
) -> Result<Created, Problem> {
    let context = AuditContext::from(&caller);
    let new = NewToken {
        name: body.name,
        role: body.role,
        scopes: body.scopes.unwrap_or_default(),
        tenant: body.tenant,
        expires_in_seconds: body.expires_in_seconds,
    };
    Ok(tokens::create(
        &app.auth,
        caller.principal,
        context,
        caller.idempotency,
        new,
    )
    .await?)
}

/// Revoke an API token, at once
///
/// The tokens that it has made are revoked with it.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "tokens", params(("id" = Uuid, Path)),
    responses((status = 204)))]
pub async fn revoke(
    State(app): State<AppState>,
    caller: Caller,
    PathId(id): PathId<Uuid>,
) -> Result<StatusCode, Problem> {
    tokens::revoke(&app.auth, AuditContext::from(&caller), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
