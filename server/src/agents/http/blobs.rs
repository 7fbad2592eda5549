//! `/blobs`: content for `deploy_file`, uploaded, listed and removed by operators.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use http::StatusCode;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::AgentsState;
use crate::agents::blob_upkeep::{self, BlobDeleteError};
use crate::agents::blobs::{BLOB_BYTES_MAX, BlobDigest, BlobError};
use crate::agents::store::{self, Blob};
use crate::audit::{self, AuditContext};
use crate::auth::Caller;
use crate::db::DbError;
use crate::http::{ListQuery, Page, PageParameters, Problem, Timestamp};

pub(super) fn router() -> OpenApiRouter<AgentsState> {
    OpenApiRouter::new()
        .routes(routes!(list_blobs))
        .routes(routes!(put_blob, delete_blob))
}

/// Uploaded content.
#[derive(Debug, Serialize, ToSchema)]
struct BlobView {
    /// 64 lower-case hex digits: its name in operations.
    sha256: String,
    size_bytes: i64,
    /// Who uploaded it first.
    created_by: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last uploaded, or seen referred to by something that is kept.
    #[schema(value_type = String, format = DateTime)]
    used_at: Timestamp,
    /// Something that is not over refers to it: a command, an operation, a schedule. Null while a module that may keep
    /// something for it does not answer.
    in_use: Option<bool>,
}

/// Uploaded content, newest first.
#[utoipa::path(get, path = "/blobs", tag = "blobs", params(PageParameters),
    responses((status = OK, body = Page<BlobView>)))]
async fn list_blobs(
    State(AgentsState { app, .. }): State<AgentsState>,
    ListQuery { paging, .. }: ListQuery,
) -> Result<Json<Page<BlobView>>, Problem> {
    let before = match paging.after::<(i64, String)>()? {
        None => None,
        Some((time_us, digest)) => Some((time_us, parse(&digest)?)),
    };
    let rows = store::blobs_page(&app.db, before, paging.limit() + 1).await?;
    // The last only says that there are more.
    let shown = rows.get(..paging.limit() as usize).unwrap_or(&rows);
    let uses = blob_upkeep::in_use(&app, shown).await?;
    let place = |blob: &Blob| (blob.created_at_us, blob.sha256.to_hex());
    Ok(Json(paging.page(rows, place, |blob| {
        let sha256 = blob.sha256.to_hex();
        BlobView {
            in_use: uses.of(&sha256),
            sha256,
            size_bytes: blob.size_bytes,
            created_by: blob.created_by,
            created_at: Timestamp(blob.created_at_us),
            used_at: Timestamp(blob.used_at_us),
        }
    })))
}

/// Stores content under its SHA-256. Repeated, it only counts as used again.
#[utoipa::path(put, path = "/blobs/{sha256}", tag = "blobs",
    params(("sha256" = String, Path, description = "64 lower-case hex digits")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = CREATED), (status = NO_CONTENT, description = "Was there already.")))]
async fn put_blob(
    State(AgentsState { app, agents }): State<AgentsState>,
    caller: Caller,
    Path(digest): Path<String>,
    body: Body,
) -> Result<StatusCode, Problem> {
    let digest = parse(&digest)?;
    let id = app.clock.new_id();
    let content = body.into_data_stream();
    let received = agents.blobs().receive(digest, id, content).await?;
    let _alone = agents.blobs().alone().await;
    let size = agents.blobs().place(received).await?;
    let now_us = app.clock.now_us();
    let is_new = app
        .db
        .write(move |tx| {
            let by = &caller.principal.id;
            let is_new = store::insert_blob_in(tx, digest.0, size, by, now_us)?;
            if is_new {
                let detail = json!({"size_bytes": size});
                let entry = audit::entry("blob.upload", "blob", digest.to_hex(), detail);
                audit::append(tx, now_us, &AuditContext::from(&caller), &entry)?;
            }
            Ok::<bool, DbError>(is_new)
        })
        .await?;
    Ok(if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::NO_CONTENT
    })
}

/// Removes content that nothing refers to which is not over.
#[utoipa::path(delete, path = "/blobs/{sha256}", tag = "blobs",
    params(("sha256" = String, Path, description = "64 lower-case hex digits")),
    responses((status = NO_CONTENT), (status = CONFLICT, description = "`blob-in-use`, or `blob-use-unknown`")))]
async fn delete_blob(
    State(AgentsState { app, agents }): State<AgentsState>,
    caller: Caller,
    Path(digest): Path<String>,
) -> Result<StatusCode, Problem> {
    let digest = parse(&digest)?;
    blob_upkeep::delete(&app, &agents, AuditContext::from(&caller), digest).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn parse(digest: &str) -> Result<BlobDigest, Problem> {
    BlobDigest::parse(digest)
        .ok_or_else(|| Problem::malformed("The path must end with 64 lower-case hex digits."))
}

impl From<BlobError> for Problem {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::TooLarge => {
                let detail = format!("A blob is at most {BLOB_BYTES_MAX} bytes.");
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
            }
            BlobError::Full { bytes_max } => Self::conflict(
                "blobs-full",
                format!(
                    "All blobs together take at most {bytes_max} bytes; delete some that are not needed, or raise \
                     limits.blobs_mebibytes."
                ),
            ),
            BlobError::Mismatch { found } => {
                let detail = format!("The content's SHA-256 is {found}.");
                Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "blob-digest-mismatch",
                    detail,
                )
            }
            BlobError::Interrupted => Self::malformed("The content broke off."),
            // A full disk is the usual reason, and it passes.
            BlobError::Io(error) => {
                tracing::error!(%error, "a blob could not be stored");
                Self::unavailable()
            }
        }
    }
}

impl From<BlobDeleteError> for Problem {
    fn from(error: BlobDeleteError) -> Self {
        match error {
            BlobDeleteError::NotFound => Self::not_found("blob"),
            BlobDeleteError::InUse => Self::conflict(
                "blob-in-use",
                "Something that is not over refers to it: a command, an operation or a schedule.",
            ),
            BlobDeleteError::Unknown(modules) => Self::conflict(
                "blob-use-unknown",
                format!(
                    "These modules do not answer, and may keep something that needs it: {}.",
                    modules.join(", ")
                ),
            ),
            BlobDeleteError::Io(error) => Self::internal(&error),
            BlobDeleteError::Db(error) => error.into(),
        }
    }
}
