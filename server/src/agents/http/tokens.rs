//! `/enrollment-tokens`: how operators let agents in.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::state::AgentsState;
use crate::agents::enrollment::{self, CreatedToken, NewToken, TokenError};
use crate::agents::store::{self, EnrollmentToken};
use crate::audit::AuditContext;
use crate::auth::Caller;
use crate::http::{
    JsonBody, ListQuery, Page, PageParameters, PathId, Problem, Timestamp, from_input,
};

pub(super) fn router() -> OpenApiRouter<AgentsState> {
    OpenApiRouter::new()
        .routes(routes!(list_enrollment_tokens, create_enrollment_token))
        .routes(routes!(delete_enrollment_token))
}

#[derive(Debug, ToSchema)]
struct CreateEnrollmentToken {
    /// For people.
    name: Option<String>,
    /// How many hosts may enroll with it; default 1.
    #[schema(minimum = 1, maximum = 100_000)]
    uses: Option<i64>,
    /// Default an hour, or as long as the API token that makes it.
    #[schema(minimum = 60, maximum = 2_592_000)]
    expires_in_seconds: Option<i64>,
    /// Whether hosts are in without an operator's approval; default no. Only from whoever may approve hosts.
    auto_approve: Option<bool>,
    /// Given to every host that enrolls with it.
    tags: Option<Vec<String>>,
}

from_input!(CreateEnrollmentToken {
    name,
    uses,
    expires_in_seconds,
    auto_approve,
    tags
});

#[derive(Debug, Serialize, ToSchema)]
struct EnrollmentTokenView {
    id: Uuid,
    name: String,
    created_by: String,
    created_at: Timestamp,
    expires_at: Timestamp,
    uses: i64,
    uses_left: i64,
    auto_approve: bool,
    tags: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct CreatedTokenView {
    id: Uuid,
    name: String,
    created_by: String,
    created_at: Timestamp,
    expires_at: Timestamp,
    uses: i64,
    uses_left: i64,
    auto_approve: bool,
    tags: Vec<String>,
    /// What agents are given. Shown this once; null when the request is a repetition under its idempotency key,
    /// because only a digest of it is kept.
    token: Option<String>,
}

/// Lists enrollment tokens, newest first.
#[utoipa::path(get, path = "/enrollment-tokens", tag = "enrollment", params(PageParameters),
    responses((status = OK, body = Page<EnrollmentTokenView>)))]
async fn list_enrollment_tokens(
    State(AgentsState { app, .. }): State<AgentsState>,
    ListQuery { paging, .. }: ListQuery,
) -> Result<Json<Page<EnrollmentTokenView>>, Problem> {
    let rows = store::tokens_page(&app.db, paging.after()?, paging.limit() + 1).await?;
    Ok(Json(paging.page(rows, |token| token.id, view)))
}

/// Makes an enrollment token. It serves as long as whoever makes it may make one.
#[utoipa::path(post, path = "/enrollment-tokens", tag = "enrollment",
    request_body = CreateEnrollmentToken, responses((status = CREATED, body = CreatedTokenView)))]
async fn create_enrollment_token(
    State(AgentsState { app, agents }): State<AgentsState>,
    caller: Caller,
    JsonBody(body): JsonBody<CreateEnrollmentToken>,
) -> Result<Response, Problem> {
    let new = NewToken {
        name: body.name.unwrap_or_default(),
        uses: body.uses,
        expires_in_seconds: body.expires_in_seconds,
        auto_approve: body.auto_approve.unwrap_or_default(),
        tags: body.tags.unwrap_or_default(),
    };
    let context = AuditContext::from(&caller);
    let (by, claim, lease_us) = (caller.principal, caller.idempotency, app.clock.lease_us());
    let CreatedToken { token, text } =
        enrollment::create_token(&agents, by, context, new, move |tx, token| {
            let Some(claim) = claim else { return Ok(()) };
            let headers = [
                ("content-type".to_owned(), "application/json".to_owned()),
                ("location".to_owned(), location(token.id)),
            ];
            let body = serde_json::json!(created(token.clone(), None)).to_string();
            claim.store(tx, lease_us, StatusCode::CREATED.as_u16(), &headers, &body)
        })
        .await?;
    let headers = [(header::LOCATION, location(token.id))];
    let view = created(token, Some(text));
    Ok((StatusCode::CREATED, headers, Json(view)).into_response())
}

/// Makes an enrollment token useless.
#[utoipa::path(delete, path = "/enrollment-tokens/{id}", tag = "enrollment",
    params(("id" = Uuid, Path)), responses((status = NO_CONTENT)))]
async fn delete_enrollment_token(
    State(AgentsState { agents, .. }): State<AgentsState>,
    caller: Caller,
    PathId(id): PathId<Uuid>,
) -> Result<StatusCode, Problem> {
    enrollment::delete_token(&agents, AuditContext::from(&caller), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::NotFound => Self::not_found("enrollment token"),
            TokenError::Invalid(violations) => Self::invalid(violations),
            TokenError::Auth(error) => error.into(),
            TokenError::Db(error) => error.into(),
        }
    }
}

fn location(id: Uuid) -> String {
    format!("/api/v1/enrollment-tokens/{id}")
}

fn view(token: EnrollmentToken) -> EnrollmentTokenView {
    EnrollmentTokenView {
        id: token.id,
        name: token.name,
        created_by: token.created_by,
        created_at: Timestamp(token.created_at_us),
        expires_at: Timestamp(token.expires_at_us),
        uses: token.uses_max,
        uses_left: token.uses_max - token.uses,
        auto_approve: token.auto_approve,
        tags: token.tags,
    }
}

fn created(token: EnrollmentToken, text: Option<String>) -> CreatedTokenView {
    let view = view(token);
    CreatedTokenView {
        id: view.id,
        name: view.name,
        created_by: view.created_by,
        created_at: view.created_at,
        expires_at: view.expires_at,
        uses: view.uses,
        uses_left: view.uses_left,
        auto_approve: view.auto_approve,
        tags: view.tags,
        token: text,
    }
}
