//! Reads request bodies: every violation with its place, not the first. Pure. The selector is only known to be an
//! object here: the groups module reads it.

use std::collections::BTreeMap;

use fleetwright_operations::fields::Fields;
use fleetwright_operations::request::{self as part, NewOperation, new_operation};
use fleetwright_plugin_api::wire::{CommandStatus, OfflinePolicy};
use fleetwright_protocol::Violation;
use fleetwright_protocol::limits::EXPIRES_IN_SECONDS_DEFAULT;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A set holds at most this many hosts, so a higher limit on running ones would say nothing.
const MAX_CONCURRENCY: u64 = 100_000;

/// The body of `POST /fleet/bulk`.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "documents the body; `new_bulk` reads it, to report every violation"
)]
pub struct BulkRequest {
    /// One of the eight operation types.
    operation_type: String,
    /// As the operation type says.
    #[schema(value_type = Object)]
    parameters: Option<Value>,
    /// Resolved once; the hosts it selects now are frozen.
    #[schema(value_type = Object)]
    selector: Value,
    /// A run that takes longer is failed with reason `timed_out`. Default 3600.
    timeout_seconds: Option<u64>,
    /// A host that has not started by then is skipped with reason `expired`. Default 86400.
    expires_in_seconds: Option<u64>,
    /// Hosts running at once; 0, the default, is no limit.
    max_concurrency: Option<u64>,
    /// `queue` (default): offline hosts wait; `skip`: they are skipped.
    #[schema(example = "queue")]
    offline: Option<String>,
    /// Why, for people and for the audit log. At most 500 characters.
    reason: Option<String>,
    /// Answer what would be created and store nothing.
    plan_only: Option<bool>,
    /// Sent to the hosts, which report what would change and touch nothing.
    dry_run: Option<bool>,
    working_directory: Option<String>,
    environment: Option<BTreeMap<String, String>>,
    run_as: Option<String>,
    /// `{"script", "timeout_seconds", "retries", "interval_seconds", "soak_seconds"}`: a host succeeds only if this
    /// script exits with 0, run after the operation and the soak. It adds its own time to `timeout_seconds`.
    #[schema(value_type = Option<Object>)]
    health_check: Option<Value>,
    /// Refuse with 409 unless the selection has this digest.
    #[schema(example = "sha256:…")]
    expected_digest: Option<String>,
    /// Refuse with 409 unless the selection has this many hosts.
    expected_count: Option<u64>,
}

/// The body of `POST /fleet/bulk/{id}/cancel`; may be left out.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "documents the body; `cancel` reads it, to report every violation"
)]
pub struct CancelRequest {
    /// `finish` (default): what runs may end by itself; `kill`: it is ended.
    #[schema(example = "finish")]
    running: Option<String>,
    /// Only these hosts; all without it.
    #[schema(value_type = Option<Object>)]
    selector: Option<Value>,
}

/// The body of `POST /fleet/bulk/{id}/retry`; may be left out.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "documents the body; `retry` reads it, to report every violation"
)]
pub struct RetryRequest {
    /// `failed` (default), `skipped` or both.
    #[schema(example = json!(["failed"]))]
    statuses: Option<Vec<String>>,
    /// Why, for people and for the audit log. At most 500 characters.
    reason: Option<String>,
}

/// What lists show of how an operation is run: a few small values, whatever a client sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BulkOptions {
    pub timeout_seconds: u64,
    pub expires_in_seconds: u64,
    pub max_concurrency: u64,
    pub offline: OfflinePolicy,
    /// As the hosts are told.
    pub dry_run: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Cancel {
    pub kill: bool,
    pub selector: Option<Value>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Terminal and not succeeded, without duplicates.
    pub statuses: Vec<CommandStatus>,
    pub reason: Option<String>,
}

/// Reads the body of a new operation.
pub fn new_bulk(body: &Value) -> Result<NewOperation<BulkOptions>, Vec<Violation>> {
    new_operation(body, options)
}

/// Reads the body of a cancel.
pub fn cancel(body: &Value) -> Result<Cancel, Vec<Violation>> {
    let mut fields = Fields::of(body)?;
    let running = fields.word("running", "bulk-running-invalid", &["finish", "kill"]);
    let selector = part::selector(&mut fields);
    fields.finish()?;
    Ok(Cancel {
        kill: running == Some("kill"),
        selector,
    })
}

/// Reads the body of a retry.
pub fn retry(body: &Value) -> Result<Retry, Vec<Violation>> {
    let mut fields = Fields::of(body)?;
    let statuses = retry_statuses(&mut fields);
    let reason = part::reason(&mut fields);
    fields.finish()?;
    Ok(Retry { statuses, reason })
}

fn options(fields: &mut Fields<'_>, dry_run: bool) -> Option<BulkOptions> {
    let timeout_seconds = part::timeout_seconds(fields);
    let expires_in_seconds = part::expires_in_seconds(fields);
    let concurrency_max = i64::try_from(MAX_CONCURRENCY).unwrap_or(i64::MAX);
    let max_concurrency = fields.number(
        "max_concurrency",
        "operation-concurrency-invalid",
        0..=concurrency_max,
    );
    let offline = part::offline(fields);
    Some(BulkOptions {
        timeout_seconds: timeout_seconds?,
        expires_in_seconds: expires_in_seconds.unwrap_or(EXPIRES_IN_SECONDS_DEFAULT),
        max_concurrency: max_concurrency.unwrap_or(0),
        offline,
        dry_run,
    })
}

fn retry_statuses(fields: &mut Fields<'_>) -> Vec<CommandStatus> {
    const CODE: &str = "bulk-statuses-invalid";
    let Some(value) = fields.value("statuses") else {
        return vec![CommandStatus::Failed];
    };
    let list = value.as_array().filter(|list| !list.is_empty());
    let Some(list) = list else {
        fields.refuse("statuses", CODE, "must be a list of `failed` and `skipped`");
        return Vec::new();
    };
    let mut statuses = Vec::new();
    for (index, item) in list.iter().enumerate() {
        let status = match item.as_str() {
            Some("failed") => CommandStatus::Failed,
            Some("skipped") => CommandStatus::Skipped,
            _other => {
                let place = format!("statuses/{index}");
                fields.refuse(&place, CODE, "must be `failed` or `skipped`");
                continue;
            }
        };
        if !statuses.contains(&status) {
            statuses.push(status);
        }
    }
    statuses
}

#[cfg(test)]
mod tests;
