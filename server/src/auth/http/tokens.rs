//! API tokens, for administrators.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::app::AppState;
use crate::audit::AuditContext;
use crate::auth::actions::tokens::{self, CreatedTokenView, NewToken, TokenView};
use crate::auth::{Caller, Role, store};
use crate::http::created::Created;
use crate::http::{JsonBody, Page, PathId, Problem, StrictQuery, page};

const LIST: &str = "tokens";

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListTokens {
    /// 1 to 500; 50 if absent.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

#[derive(Deserialize, ToSchema)]
pub struct CreateToken {
    #[schema(min_length = 1, max_length = 120)]
    name: String,
    role: Role,
    /// Areas such as `hosts`, `commands:read`, `fleet`, `fleet.bulk`. Absent or empty: everything the role may do.
    #[serde(default)]
    scopes: Vec<String>,
    /// A token with a tenant reaches only what belongs to it.
    tenant: Option<String>,
    /// Absent: until revoked.
    #[schema(minimum = 1)]
    expires_in_seconds: Option<u64>,
}

/// List API tokens
#[utoipa::path(get, path = "/tokens", tag = "tokens", params(ListTokens),
    responses((status = 200, body = Page<TokenView>)))]
pub async fn list(
    State(app): State<AppState>,
    StrictQuery(query): StrictQuery<ListTokens>,
) -> Result<Json<Page<TokenView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after = app.cursors.position(LIST, query.cursor.as_deref())?;
    let rows = store::tokens::page(&app.db, after, limit + 1).await?;
    let page = app
        .cursors
        .page(LIST, limit, rows, |token| token.id, TokenView::from);
    Ok(Json(page))
}

/// Create an API token
///
/// The answer is the only place where the token is shown.
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
        scopes: body.scopes,
        tenant: body.tenant,
        expires_in_seconds: body.expires_in_seconds,
    };
    Ok(tokens::create(&app.auth, context, caller.idempotency, new).await?)
}

/// Revoke an API token, at once
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
