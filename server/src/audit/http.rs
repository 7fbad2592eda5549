//! The audit log, for administrators.

use axum::Json;
use axum::extract::State;
use fleetwright_signing::AuditHead;
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::heads::{self, HeadRefused};
use super::store::{self, AuditFilter, AuditRow};
use super::verify::{self, Earlier, Finding, HeadState};
use crate::app::AppState;
use crate::http::{ListQuery, Page, PageParameters, Problem, StrictQuery, Timestamp, from_input};

const DAY_US: i64 = 24 * 3_600 * 1_000_000;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(current_head))
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
    /// Over the row and the digest of the one before it, under the log's key (HMAC-SHA-256), in hex.
    digest: String,
}

/// The newest row as of a time, signed. Kept where nobody of the server's reach can change it, it shows later whether
/// anything up to that row was removed or made anew.
#[derive(Serialize, ToSchema)]
pub struct AuditHeadView {
    /// The newest row's number; 0 of a log without rows.
    sequence: i64,
    /// The newest row's digest, in hex.
    digest: String,
    /// When the newest row was written, exactly as signed; empty of a log without rows.
    row_at: String,
    /// When it was signed, exactly as signed.
    #[schema(format = DateTime)]
    at: String,
    /// The beginning of the SHA-256 of the public key, in hex.
    key_id: String,
    /// Ed25519, in hex.
    public_key: String,
    /// Ed25519 over `fleetwright-audit-head-1`, `sequence`, `digest`, `row_at`, `at` and `key_id`, a line each, in hex.
    signature: String,
}

/// An earlier head: all of it or nothing.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EarlierHead {
    sequence: Option<i64>,
    /// In hex.
    digest: Option<String>,
    /// As in the head.
    row_at: Option<String>,
    /// As in the head.
    #[param(format = DateTime)]
    at: Option<String>,
    key_id: Option<String>,
    /// In hex.
    signature: Option<String>,
}

from_input!(EarlierHead {
    sequence,
    digest,
    row_at,
    at,
    key_id,
    signature
});

#[derive(Serialize, ToSchema)]
pub struct AuditVerification {
    /// Nothing was altered, nothing is missing, and everything could be checked.
    valid: bool,
    rows_checked: u64,
    /// The oldest row that retention has left.
    first_sequence: i64,
    /// The newest row's number.
    last_sequence: i64,
    /// The rows up to this one are from before the log had a key: they are checked against what the log was when it got
    /// one, and what was done to them before that cannot be told.
    unkeyed_until: Option<i64>,
    /// The key of the other rows.
    key_id: String,
    /// What became of the row of the head that was given.
    head: Option<HeadState>,
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

/// The newest row, signed
///
/// Keep it elsewhere: given to `GET /audit/verify` later, it shows whether anything up to that row was removed or made anew,
/// also by somebody who has the database and the key.
#[utoipa::path(get, path = "/audit/head", tag = "audit",
    responses((status = 200, body = AuditHeadView), (status = 409, description = "The newest row is not as this server left it")))]
pub async fn current_head(State(app): State<AppState>) -> Result<Json<AuditHeadView>, Problem> {
    let head = heads::current(&app.db, app.clock.now_us()).await?;
    Ok(Json(AuditHeadView {
        sequence: head.sequence,
        digest: head.digest,
        row_at: head.row_at,
        at: head.at,
        key_id: head.key_id,
        public_key: head.public_key,
        signature: head.signature,
    }))
}

/// Check the whole chain
///
/// Finds rows that were altered and rows that are missing, at the beginning and the end too. With a head that was signed
/// earlier it also finds that the log was made anew, or set back to an older one.
#[utoipa::path(get, path = "/audit/verify", tag = "audit", params(EarlierHead),
    responses((status = 200, body = AuditVerification)))]
pub async fn verify_chain(
    State(app): State<AppState>,
    StrictQuery(earlier): StrictQuery<EarlierHead>,
) -> Result<Json<AuditVerification>, Problem> {
    let kept_us = i64::from(app.config.retention.audit_days).saturating_mul(DAY_US);
    let earlier = given(&app, earlier)?.map(|head| Earlier {
        head,
        kept_since_us: app.clock.now().earlier_us().saturating_sub(kept_us),
    });
    let report = verify::run_against(&app.db, earlier).await?;
    Ok(Json(AuditVerification {
        valid: report.findings.is_empty(),
        rows_checked: report.rows_checked,
        first_sequence: report.floor + 1,
        last_sequence: report.last_sequence,
        unkeyed_until: report.unkeyed_until,
        key_id: report.key_id,
        head: report.head,
        findings: report.findings,
    }))
}

/// The head that was given. One that claims this server's key and was not signed with it is refused.
fn given(app: &AppState, query: EarlierHead) -> Result<Option<AuditHead>, Problem> {
    let (head, key_id) = match query {
        EarlierHead {
            sequence: Some(sequence),
            digest: Some(digest),
            row_at: Some(row_at),
            at: Some(at),
            key_id: Some(key_id),
            signature: Some(signature),
        } => {
            let head = AuditHead {
                sequence,
                digest,
                row_at,
                at,
                key_id: String::new(),
                public_key: String::new(),
                signature,
            };
            (head, key_id)
        }
        EarlierHead {
            sequence: None,
            digest: None,
            row_at: None,
            at: None,
            key_id: None,
            signature: None,
        } => return Ok(None),
        EarlierHead { .. } => {
            let detail = "a head is `sequence`, `digest`, `row_at`, `at`, `key_id` and `signature`, all of them";
            let problem = Problem::invalid_field("/sequence", "head-incomplete", detail);
            return Err(problem);
        }
    };
    let key = super::key_of(&app.db)?;
    let mut head = key.completed(head);
    if key_id == key.id && !key.signed(&head) {
        let detail = "this server's key did not sign that head";
        let problem = Problem::invalid_field("/signature", "head-not-signed", detail);
        return Err(problem);
    }
    head.key_id = key_id;
    Ok(Some(head))
}

impl From<HeadRefused> for Problem {
    fn from(error: HeadRefused) -> Self {
        match error {
            HeadRefused::NotOurs => Self::conflict(
                "audit-log-broken",
                "The newest row of the audit log is not as this server left it. GET /audit/verify says more.",
            ),
            HeadRefused::Db(error) => error.into(),
        }
    }
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
