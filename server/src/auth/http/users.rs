//! Users, for administrators.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::AppState;
use crate::audit::AuditContext;
use crate::auth::actions::users::{self, NewUser, UserChange, UserView};
use crate::auth::{Caller, Role, store};
use crate::http::created::Created;
use crate::http::etag::{self, IfMatch, IfNoneMatch};
use crate::http::{JsonBody, ListQuery, Page, PageParameters, PathId, Problem, from_input};

#[derive(ToSchema)]
pub struct CreateUser {
    #[schema(min_length = 1, max_length = 120)]
    name: String,
    #[schema(min_length = 12, max_length = 1024)]
    password: String,
    role: Role,
}

/// What to change; absent members stay as they are. Any change ends the user's sessions; disabling revokes their API tokens,
/// for good.
#[derive(ToSchema)]
pub struct ChangeUser {
    #[schema(min_length = 12, max_length = 1024)]
    password: Option<String>,
    role: Option<Role>,
    disabled: Option<bool>,
}

from_input!(CreateUser {
    name,
    password,
    role
});
from_input!(ChangeUser {
    password,
    role,
    disabled
});

/// List users
#[utoipa::path(get, path = "/users", tag = "users", params(PageParameters),
    responses((status = 200, body = Page<UserView>)))]
pub async fn list(
    State(app): State<AppState>,
    ListQuery { paging, .. }: ListQuery,
) -> Result<Json<Page<UserView>>, Problem> {
    let rows = store::page(&app.db, paging.after()?, paging.limit() + 1).await?;
    Ok(Json(paging.page(rows, |user| user.id, UserView::from)))
}

/// Create a user
///
/// Not with a token that has scopes, a tenant or an end: a user has none of these bounds, so it would make more than it is.
#[utoipa::path(post, path = "/users", tag = "users", request_body = CreateUser,
    responses((status = 201, body = UserView)))]
pub async fn create(
    State(app): State<AppState>,
    caller: Caller,
    JsonBody(body): JsonBody<CreateUser>,
) -> Result<Created, Problem> {
    let context = AuditContext::from(&caller);
    let new = NewUser {
        name: body.name,
        password: body.password,
        role: body.role,
    };
    Ok(users::create(
        &app.auth,
        caller.principal,
        context,
        caller.idempotency,
        new,
    )
    .await?)
}

/// Show a user
#[utoipa::path(get, path = "/users/{id}", tag = "users",
    params(("id" = Uuid, Path), ("if-none-match" = Option<String>, Header)),
    responses((status = 200, body = UserView), (status = 304, description = "It is what the client has")))]
pub async fn show(
    State(app): State<AppState>,
    PathId(id): PathId<Uuid>,
    seen: IfNoneMatch,
) -> Result<Response, Problem> {
    let user = store::get(&app.db, id).await?;
    let user = user.ok_or_else(|| Problem::not_found("user"))?;
    Ok(seen.reply(user.revision, || UserView::from(user)))
}

/// Change a user's password, role, or whether they may log in
///
/// A token that has scopes, a tenant or an end may disable a user or lower their role, and give them nothing.
#[utoipa::path(patch, path = "/users/{id}", tag = "users", request_body = ChangeUser,
    params(("id" = Uuid, Path), ("if-match" = Option<String>, Header)),
    responses((status = 200, body = UserView)))]
pub async fn change(
    State(app): State<AppState>,
    caller: Caller,
    PathId(id): PathId<Uuid>,
    if_match: IfMatch,
    JsonBody(body): JsonBody<ChangeUser>,
) -> Result<Response, Problem> {
    let context = AuditContext::from(&caller);
    let change = UserChange {
        password: body.password,
        role: body.role,
        disabled: body.disabled,
    };
    let view = users::change(&app.auth, caller.principal, context, id, if_match, change).await?;
    Ok(tagged(view))
}

/// Delete a user
///
/// Their sessions end and their API tokens are revoked.
#[utoipa::path(delete, path = "/users/{id}", tag = "users", params(("id" = Uuid, Path)),
    responses((status = 204)))]
pub async fn delete(
    State(app): State<AppState>,
    caller: Caller,
    PathId(id): PathId<Uuid>,
) -> Result<StatusCode, Problem> {
    users::delete(&app.auth, AuditContext::from(&caller), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn tagged(view: UserView) -> Response {
    ([(header::ETAG, etag::of(view.revision))], Json(view)).into_response()
}
