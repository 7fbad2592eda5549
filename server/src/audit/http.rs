//! The audit log, for administrators.

use axum::Json;
use axum::extract::State;
use fleetwright_protocol::Violation;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::store::{self, AuditFilter, AuditRow};
use super::verify::{self, Finding};
use crate::app::AppState;
use crate::http::{Page, Problem, StrictQuery, Timestamp, page};

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(verify_chain))
}

#[derive(Deserialize, Serialize, IntoParams)]
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
    since: Option<String>,
    /// Before this time (RFC 3339).
    until: Option<String>,
    /// 1 to 500; 50 if absent.
    #[serde(skip_serializing)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing)]
    cursor: Option<String>,
}

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
#[utoipa::path(get, path = "/audit", tag = "audit", params(ListAudit),
    responses((status = 200, body = Page<AuditView>)))]
pub async fn list(
    State(app): State<AppState>,
    StrictQuery(query): StrictQuery<ListAudit>,
) -> Result<Json<Page<AuditView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let list = list_name(&query);
    let filter = AuditFilter {
        since_us: time("/since", query.since.as_deref())?,
        until_us: time("/until", query.until.as_deref())?,
        principal: query.principal,
        action: query.action,
        target_kind: query.target_kind,
        target_id: query.target_id,
        tenant: query.tenant,
    };
    let before: Option<i64> = app.cursors.position(&list, query.cursor.as_deref())?;
    let rows = store::page(&app.db, &filter, before.unwrap_or(i64::MAX), limit + 1).await?;
    let page = app
        .cursors
        .page(&list, limit, rows, |row| row.sequence, AuditView::from);
    Ok(Json(page))
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

/// A cursor is good for the filters it was made with.
fn list_name(query: &ListAudit) -> String {
    let filters = serde_json::to_string(query).unwrap_or_default();
    format!("audit {filters}")
}

fn time(pointer: &str, text: Option<&str>) -> Result<Option<i64>, Problem> {
    text.map(|text| {
        text.parse::<Timestamp>().map(|time| time.0).map_err(|_| {
            let detail = "Expected a time such as 2026-01-31T12:00:00Z.";
            Problem::invalid(vec![Violation::new(pointer, "invalid-field", detail)])
        })
    })
    .transpose()
}
