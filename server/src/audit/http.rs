//! The audit log, for administrators.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::store::{self, AuditFilter, AuditRow};
use super::verify::{self, Finding};
use crate::app::AppState;
use crate::http::{ListQuery, Page, PageParameters, Problem, Timestamp, from_input};

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(verify_chain))
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListAudit {
    /// `user:<uuid>`, `token:<uuid>`, `module:<name>`, `system:<part>`.
    principal: Option<String>,
    /// Such as `user.create`.
    action: Option<String>,
    target_kind: Option<String>,
    target_id: Option<String>,
    tenant: Option<String>,
    /// Not before this time (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Before this time (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

from_input!(ListAudit {
    principal,
    action,
    target_kind,
    target_id,
    tenant,
    since,
    until
});

#[derive(Serialize, ToSchema)]
pub struct AuditView {
    sequence: i64,
    at: Timestamp,
    request_id: String,
    principal: String,
    principal_name: String,
    tenant: Option<String>,
    address: String,
    action: String,
    target_kind: String,
    target_id: String,
    #[schema(value_type = Object)]
    detail: Value,
    /// SHA-256 over the row and the digest of the one before it, in hex.
    digest: String,
}

#[derive(Serialize, ToSchema)]
pub struct AuditVerification {
    /// Nothing was altered, nothing is missing.
    valid: bool,
    rows_checked: u64,
    /// The newest row's number.
    last_sequence: i64,
    /// What was found, the first hundred.
    findings: Vec<Finding>,
}

/// List audit rows, newest first
#[utoipa::path(get, path = "/audit", tag = "audit", params(PageParameters, ListAudit),
    responses((status = 200, body = Page<AuditView>)))]
pub async fn list(
    State(app): State<AppState>,
    ListQuery { filters, paging }: ListQuery<ListAudit>,
) -> Result<Json<Page<AuditView>>, Problem> {
    let filter = AuditFilter {
        since_us: filters.since.map(|time| time.0),
        until_us: filters.until.map(|time| time.0),
        principal: filters.principal,
        action: filters.action,
        target_kind: filters.target_kind,
        target_id: filters.target_id,
        tenant: filters.tenant,
    };
    let before = paging.after()?.unwrap_or(i64::MAX);
    let rows = store::page(&app.db, &filter, before, paging.limit() + 1).await?;
    Ok(Json(paging.page(rows, |row| row.sequence, AuditView::from)))
}

/// Check the whole chain
///
/// Finds rows that were altered and rows that are missing.
#[utoipa::path(get, path = "/audit/verify", tag = "audit",
    responses((status = 200, body = AuditVerification)))]
pub async fn verify_chain(State(app): State<AppState>) -> Result<Json<AuditVerification>, Problem> {
    let report = verify::run(&app.db).await?;
    Ok(Json(AuditVerification {
        valid: report.findings.is_empty(),
        rows_checked: report.rows_checked,
        last_sequence: report.last_sequence,
        findings: report.findings,
    }))
}

impl From<AuditRow> for AuditView {
    fn from(row: AuditRow) -> Self {
        Self {
            sequence: row.sequence,
            at: Timestamp(row.at_us),
            request_id: row.context.request_id,
            principal: row.context.principal,
            principal_name: row.context.principal_name,
            tenant: row.context.tenant,
            address: row.context.address,
            action: row.action,
            target_kind: row.target_kind,
            target_id: row.target_id,
            detail: serde_json::from_str(&row.detail).unwrap_or(Value::Null),
            digest: hex::encode(row.digest),
        }
    }
}
