//! `/blobs`: content for `deploy_file`, uploaded by operators.

use axum::body::Body;
use axum::extract::{Path, State};
use http::StatusCode;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::AgentsState;
use crate::agents::blobs::{BLOB_BYTES_MAX, BlobDigest, BlobError};
use crate::agents::store;
use crate::audit::{self, AuditContext};
use crate::auth::Caller;
use crate::db::DbError;
use crate::http::Problem;

pub(super) fn router() -> OpenApiRouter<AgentsState> {
    OpenApiRouter::new().routes(routes!(put_blob))
}

/// Stores content under its SHA-256. Repeated, it changes nothing.
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
    let digest = BlobDigest::parse(&digest)
        .ok_or_else(|| Problem::malformed("The path must end with 64 lower-case hex digits."))?;
    let id = app.clock.new_id();
    let content = body.into_data_stream();
    let size = agents.blobs().receive(digest, id, content).await?;
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

impl From<BlobError> for Problem {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::TooLarge => {
                let detail = format!("A blob is at most {BLOB_BYTES_MAX} bytes.");
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
            }
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
