//! What the API shows of bulk operations: the JSON of summaries, details, progress and plans. Pure. Hosts and their output
//! are shown as those of every operation (`fleetwright_operations::view`).

use std::collections::BTreeMap;

use fleetwright_operations::Asked;
use fleetwright_operations::view::{Author, PlannedSkip, time, time_after};
use fleetwright_plugin_api::wire::OfflinePolicy;
use fleetwright_protocol::{EnvironmentValue, HostId};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::decide::{self, Counters, Stage, Status};
use crate::row::{BulkHeader, BulkKind, LoadedBulk};

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
    pub progress: Counters,
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
    #[schema(value_type = Object)]
    pub environment: BTreeMap<String, EnvironmentValue>,
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
    pub progress: Counters,
}

pub fn summary(loaded: &LoadedBulk) -> BulkSummary {
    let LoadedBulk { header, set, .. } = loaded;
    let stage = decide::stage(set);
    BulkSummary {
        id: header.id,
        status: decide::status(set),
        paused: stage == Stage::Paused,
        cancelling: stage == Stage::Cancelling,
        operation_type: header.operation_type.clone(),
        progress: decide::progress(set),
        digest: header.digest.clone(),
        reason: header.reason.clone(),
        parent_id: header.own.parent_id,
        dry_run: header.options.dry_run,
        max_concurrency: header.options.max_concurrency,
        offline: header.options.offline,
        timeout_seconds: header.options.timeout_seconds,
        expires_in_seconds: header.options.expires_in_seconds,
        created_by: Author::of(header),
        created_at: time(header.created_at_us),
        expires_at: time(set.expires_at_us),
        started_at: set.started_at_us.map(time),
        finished_at: set.finished_at_us.map(time),
    }
}

pub fn detail(loaded: &LoadedBulk, asked: Asked<BulkKind>) -> BulkOperation {
    let execution = asked.execution;
    BulkOperation {
        summary: summary(loaded),
        parameters: asked.parameters,
        selector: asked.selector.shown,
        selector_ids_omitted: asked.selector.ids_omitted,
        working_directory: execution.working_directory,
        environment: execution.environment,
        run_as: execution.run_as,
    }
}

pub fn accepted(header: &BulkHeader, total: u64, unknown_host_ids: Vec<Value>) -> BulkAccepted {
    BulkAccepted {
        id: header.id,
        status: Status::Queued,
        operation_type: header.operation_type.clone(),
        total,
        digest: header.digest.clone(),
        unknown_host_ids,
        parent_id: header.own.parent_id,
        dry_run: header.options.dry_run,
        created_at: time(header.created_at_us),
        expires_at: time_after(header.created_at_us, header.options.expires_in_seconds),
    }
}

pub fn progress(loaded: &LoadedBulk) -> BulkProgress {
    let stage = decide::stage(&loaded.set);
    BulkProgress {
        id: loaded.header.id,
        status: decide::status(&loaded.set),
        paused: stage == Stage::Paused,
        cancelling: stage == Stage::Cancelling,
        progress: decide::progress(&loaded.set),
    }
}
