//! `/secrets`: names, versions, who and when. A value goes in and never comes out.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::routing;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetwright_protocol::secret;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::actions::{self, NewSecret, SecretError};
use super::store::{self, SecretRow, VersionRow};
use crate::app::AppState;
use crate::audit::AuditContext;
use crate::auth::Caller;
use crate::http::{JsonBody, ListQuery, Page, PageParameters, Problem, Timestamp, from_input};

/// `name`, and what follows its first `/` if that was sent as it is.
type NameParts = Path<BTreeMap<String, String>>;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_secrets))
        .routes(routes!(put_secret, delete_secret))
        // The same for names whose `/` is sent as it is.
        .route(
            "/secrets/{name}/{*rest}",
            routing::put(put_secret).delete(delete_secret),
        )
}

#[derive(ToSchema)]
struct PutSecret {
    /// The value as text, at most 64 KiB. Either this or `value_base64`; neither, with `groups`, changes only these of a secret
    /// that is there.
    value: Option<String>,
    /// The value's bytes.
    value_base64: Option<String>,
    /// Names or ids of the groups whose hosts may get it; empty: every host. Left out: as before.
    groups: Option<Vec<String>>,
}

from_input!(PutSecret {
    value,
    value_base64,
    groups
});

/// A secret, without its values.
#[derive(Debug, Serialize, ToSchema)]
struct SecretView {
    name: String,
    /// The newest version, which operations get unless they name another.
    version: u32,
    /// By id; empty: every host may get it.
    groups: Vec<String>,
    created_at: Timestamp,
    /// Newest first; the last ten are kept.
    versions: Vec<VersionView>,
}

#[derive(Debug, Serialize, ToSchema)]
struct VersionView {
    version: u32,
    created_at: Timestamp,
    created_by: String,
    created_by_name: String,
}

/// Lists secrets by name, never their values.
#[utoipa::path(get, path = "/secrets", tag = "secrets", params(PageParameters),
    responses((status = OK, body = Page<SecretView>)))]
async fn list_secrets(
    State(app): State<AppState>,
    ListQuery { paging, .. }: ListQuery,
) -> Result<Json<Page<SecretView>>, Problem> {
    let after: Option<String> = paging.after()?;
    let after = after.unwrap_or_default();
    if !after.is_empty() && !secret::is_name(&after) {
        return Err(Problem::malformed("The cursor is not one of this list."));
    }
    let rows = store::page(&app.db, &after, paging.limit() + 1).await?;
    let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    let mut versions = store::versions(&app.db, &names).await?;
    Ok(Json(paging.page(
        rows,
        |row| row.name.clone(),
        |row| {
            let of_secret = versions.remove(&row.name).unwrap_or_default();
            view(row, of_secret)
        },
    )))
}

/// Sets a secret: a new version, which operations get from now on. A `/` in the name may be sent as `%2F`.
#[utoipa::path(put, path = "/secrets/{name}", tag = "secrets", params(("name" = String, Path)),
    request_body = PutSecret, responses((status = OK, body = SecretView)))]
async fn put_secret(
    State(app): State<AppState>,
    caller: Caller,
    path: Result<NameParts, PathRejection>,
    JsonBody(body): JsonBody<PutSecret>,
) -> Result<Json<SecretView>, Problem> {
    let new = NewSecret {
        name: name_of(path)?,
        value: value_of(body.value, body.value_base64)?,
        groups: body.groups,
    };
    let row = actions::set(&app.secrets, AuditContext::from(&caller), new).await?;
    let mut versions = store::versions(&app.db, &[row.name.as_str()]).await?;
    let of_secret = versions.remove(&row.name).unwrap_or_default();
    Ok(Json(view(row, of_secret)))
}

/// Deletes a secret with all its versions. Commands that wait with it are skipped.
#[utoipa::path(delete, path = "/secrets/{name}", tag = "secrets", params(("name" = String, Path)),
    responses((status = NO_CONTENT)))]
async fn delete_secret(
    State(app): State<AppState>,
    caller: Caller,
    path: Result<NameParts, PathRejection>,
) -> Result<StatusCode, Problem> {
    let context = AuditContext::from(&caller);
    actions::delete(&app.secrets, context, name_of(path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn name_of(path: Result<NameParts, PathRejection>) -> Result<String, Problem> {
    let Path(mut parts) = path.map_err(|_| Problem::malformed("The path is not UTF-8."))?;
    let name = parts.remove("name").unwrap_or_default();
    match parts.remove("rest") {
        Some(rest) => Ok(format!("{name}/{rest}")),
        None => Ok(name),
    }
}

fn value_of(text: Option<String>, base64: Option<String>) -> Result<Option<Vec<u8>>, Problem> {
    let invalid = |pointer, detail: &str| {
        Err(Problem::invalid_field(
            pointer,
            "secret-value-invalid",
            detail,
        ))
    };
    match (text, base64) {
        (None, None) => Ok(None),
        (Some(text), None) => Ok(Some(text.into_bytes())),
        (None, Some(encoded)) => STANDARD
            .decode(encoded)
            .map(Some)
            .or_else(|_| invalid("/value_base64", "is not base64")),
        (Some(_), Some(_)) => invalid("/value", "only one of value and value_base64 is possible"),
    }
}

fn view(row: SecretRow, versions: Vec<VersionRow>) -> SecretView {
    let version = |row: VersionRow| VersionView {
        version: row.version,
        created_at: Timestamp(row.created_at_us),
        created_by: row.created_by,
        created_by_name: row.created_by_name,
    };
    SecretView {
        name: row.name,
        version: row.version,
        groups: row.groups,
        created_at: Timestamp(row.created_at_us),
        versions: versions.into_iter().map(version).collect(),
    }
}

impl From<SecretError> for Problem {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::NotFound => Self::not_found("secret"),
            SecretError::Invalid(violations) => Self::invalid(violations),
            SecretError::Seal => Self::internal(&error),
            SecretError::Db(error) => error.into(),
        }
    }
}
