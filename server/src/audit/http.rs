//! `/audit`: the log for people, and whether it is whole.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::store::{self, AuditFilter, AuditRow};
use super::verify::{self, Verdict};
use crate::app::AppState;
use crate::auth::Caller;
use crate::http::{Page, Problem, StrictQuery, Timestamp, page};

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_audit))
        .routes(routes!(verify_audit))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// `user:<id>`, `token:<id>`, `system:<part>` or `module:<name>`.
    principal: Option<String>,
    action: Option<String>,
    target_kind: Option<String>,
    target_id: Option<String>,
    /// At or after this time.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Default 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// From the page before.
    cursor: Option<String>,
}

/// One mutation: who, what, when, from where, and the link to the row before.
#[derive(Debug, Serialize, ToSchema)]
struct AuditView {
    sequence: i64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    principal: String,
    principal_name: String,
    #[schema(required)]
    tenant: Option<String>,
    address: String,
    request_id: String,
    action: String,
    target_kind: String,
    target_id: String,
    #[schema(value_type = Object)]
    detail: Value,
    /// Hex SHA-256 over this row and the digest of the row before.
    digest: String,
}

/// Whether every row is there and unaltered.
#[derive(Debug, Serialize, ToSchema)]
struct VerifyView {
    valid: bool,
    /// Rows that were checked.
    rows: u64,
    /// The first row that is missing or altered.
    #[schema(required)]
    broken_at: Option<i64>,
    /// `missing` or `altered`.
    #[schema(required)]
    problem: Option<&'static str>,
}

/// Lists the audit log, newest first.
#[utoipa::path(get, path = "/audit", tag = "audit", params(ListQuery),
    responses((status = OK, body = Page<AuditView>)))]
async fn list_audit(
    State(app): State<AppState>,
    caller: Caller,
    StrictQuery(query): StrictQuery<ListQuery>,
) -> Result<Json<Page<AuditView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let cursor = query.cursor.clone();
    let filter = AuditFilter {
        principal: query.principal,
        action: query.action,
        target_kind: query.target_kind,
        target_id: query.target_id,
        tenant: caller.principal.tenant.clone(),
        since_us: query.since.map(|time| time.0),
        until_us: query.until.map(|time| time.0),
    };
    let list = format!("audit {filter:?}");
    let before = match &cursor {
        None => i64::MAX,
        Some(cursor) => app.cursors.open(&list, cursor)?,
    };
    let rows = store::page(&app.db, &filter, before, limit + 1).await?;
    Ok(Json(app.cursors.page(&list, limit, rows, |row| row.sequence, view)))
}

/// Walks the whole chain and names the first row that is missing or altered.
#[utoipa::path(get, path = "/audit/verify", tag = "audit",
    responses((status = OK, body = VerifyView)))]
async fn verify_audit(State(app): State<AppState>) -> Result<Json<VerifyView>, Problem> {
    let verdict = verify::verify(&app.db).await?;
    Ok(Json(match verdict {
        Verdict::Whole { rows } => {
            VerifyView { valid: true, rows, broken_at: None, problem: None }
        }
        Verdict::Missing { rows, sequence } => {
            VerifyView { valid: false, rows, broken_at: Some(sequence), problem: Some("missing") }
        }
        Verdict::Altered { rows, sequence } => {
            VerifyView { valid: false, rows, broken_at: Some(sequence), problem: Some("altered") }
        }
    }))
}

fn view(row: AuditRow) -> AuditView {
    AuditView {
        sequence: row.sequence,
        at: Timestamp(row.at_us),
        principal: row.context.principal,
        principal_name: row.context.principal_name,
        tenant: row.context.tenant,
        address: row.context.address,
        request_id: row.context.request_id,
        action: row.action,
        target_kind: row.target_kind,
        target_id: row.target_id,
        detail: serde_json::from_str(&row.detail).unwrap_or(Value::String(row.detail)),
        digest: hex::encode(row.digest),
    }
}
