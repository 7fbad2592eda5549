//! What the API shows: the JSON of operations, hosts, outputs and plans. Pure. Times are RFC 3339 in UTC with
//! milliseconds.

use std::collections::BTreeMap;

use fleetwright_plugin_api::wire::{OfflinePolicy, SetView};
use fleetwright_protocol::HostId;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

pub use fleetwright_operations::view::{
    Author, HostOutput, HostResult, HostStatus, PlannedSkip, Stream, command_status, digest_text,
    host, host_status, output, plan, planned, time,
};

use crate::decide::{self, Progress, Standing, Status};
use crate::request::Terms;
use crate::store::{Asked, Header};

const MICROS_PER_SECOND: i64 = 1_000_000;

/// A bulk operation, as in lists.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BulkSummary {
    pub id: Uuid,
    pub status: Status,
    /// Nothing new is dispatched until resumed.
    pub paused: bool,
    /// The whole operation was cancelled, and some hosts are not terminal yet.
    pub cancelling: bool,
    pub operation_type: String,
    #[serde(flatten)]
    pub progress: Progress,
    /// SHA-256 of the frozen host ids.
    pub digest: String,
    pub reason: Option<String>,
    /// The operation this one retries.
    pub parent_id: Option<Uuid>,
    pub dry_run: bool,
    pub max_concurrency: u64,
    #[schema(value_type = String, example = "queue")]
    pub offline: OfflinePolicy,
    pub timeout_seconds: u64,
    pub expires_in_seconds: u64,
    pub created_by: Author,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub expires_at: String,
    #[schema(format = DateTime)]
    pub started_at: Option<String>,
    #[schema(format = DateTime)]
    pub finished_at: Option<String>,
}

/// A bulk operation with what was asked.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BulkOperation {
    #[serde(flatten)]
    pub summary: BulkSummary,
    #[schema(value_type = Object)]
    pub parameters: Value,
    /// As asked; a long list of explicit ids is left out and counted in `selector_ids_omitted`.
    #[schema(value_type = Object)]
    pub selector: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector_ids_omitted: Option<u64>,
    pub working_directory: Option<String>,
    pub environment: BTreeMap<String, String>,
    pub run_as: Option<String>,
}

/// A new operation as it was accepted. Hosts that are skipped at once count from the first read on.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BulkAccepted {
    pub id: Uuid,
    pub status: Status,
    pub operation_type: String,
    pub total: u64,
    pub digest: String,
    /// Explicit ids that are no host's.
    #[schema(value_type = Vec<Uuid>)]
    pub unknown_host_ids: Vec<Value>,
    pub parent_id: Option<Uuid>,
    pub dry_run: bool,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub expires_at: String,
}

/// What `plan_only` answers: what would be created, had it been asked for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BulkPlan {
    pub plan_only: bool,
    pub operation_type: String,
    pub total: u64,
    pub digest: String,
    #[schema(value_type = Vec<Uuid>)]
    pub unknown_host_ids: Vec<Value>,
    /// The hosts that would run it, in order.
    #[schema(value_type = Vec<Uuid>)]
    pub hosts: Vec<HostId>,
    pub skips: Vec<PlannedSkip>,
    /// What each of `hosts` would be sent: ordered steps.
    #[schema(value_type = Object)]
    pub plan: Value,
}

/// Progress with the status it means.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BulkProgress {
    pub id: Uuid,
    pub status: Status,
    pub paused: bool,
    pub cancelling: bool,
    #[serde(flatten)]
    pub progress: Progress,
}

/// A page of operations, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BulkPage {
    pub items: Vec<BulkSummary>,
    pub next_cursor: Option<String>,
}

/// A page of an operation's hosts, in their frozen order.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BulkHostPage {
    pub items: Vec<HostResult>,
    pub next_cursor: Option<String>,
}

pub fn summary(header: &Header, set: &SetView) -> BulkSummary {
    let standing = decide::standing(set);
    BulkSummary {
        id: header.id,
        status: decide::status(set),
        paused: standing == Standing::Paused,
        cancelling: standing == Standing::Cancelling,
        operation_type: header.operation_type.clone(),
        progress: decide::progress(set),
        digest: header.digest.clone(),
        reason: header.reason.clone(),
        parent_id: header.parent_id,
        dry_run: header.terms.dry_run,
        max_concurrency: header.terms.max_concurrency,
        offline: header.terms.offline,
        timeout_seconds: header.terms.timeout_seconds,
        expires_in_seconds: header.terms.expires_in_seconds,
        created_by: Author {
            id: header.created_by.clone(),
            name: header.created_by_name.clone(),
        },
        created_at: time(header.created_at_us),
        expires_at: time(set.expires_at_us),
        started_at: set.started_at_us.map(time),
        finished_at: set.finished_at_us.map(time),
    }
}

pub fn detail(header: &Header, asked: Asked, set: &SetView) -> BulkOperation {
    let execution = asked.execution;
    BulkOperation {
        summary: summary(header, set),
        parameters: asked.parameters,
        selector: asked.selector.shown,
        selector_ids_omitted: asked.selector.ids_omitted,
        working_directory: execution.working_directory,
        environment: execution.environment,
        run_as: execution.run_as,
    }
}

pub fn accepted(header: &Header, total: u64, unknown_host_ids: Vec<Value>) -> BulkAccepted {
    BulkAccepted {
        id: header.id,
        status: Status::Queued,
        operation_type: header.operation_type.clone(),
        total,
        digest: header.digest.clone(),
        unknown_host_ids,
        parent_id: header.parent_id,
        dry_run: header.terms.dry_run,
        created_at: time(header.created_at_us),
        expires_at: time(expiry_us(header.created_at_us, &header.terms)),
    }
}

pub fn progress(id: Uuid, set: &SetView) -> BulkProgress {
    let standing = decide::standing(set);
    BulkProgress {
        id,
        status: decide::status(set),
        paused: standing == Standing::Paused,
        cancelling: standing == Standing::Cancelling,
        progress: decide::progress(set),
    }
}

/// When a host that has not started is given up.
pub fn expiry_us(created_at_us: i64, terms: &Terms) -> i64 {
    let seconds = i64::try_from(terms.expires_in_seconds).unwrap_or(i64::MAX);
    created_at_us.saturating_add(seconds.saturating_mul(MICROS_PER_SECOND))
}
