//! Request bodies, as they are read and documented: every violation with its place, not the first. Pure. The selector is
//! only known to be an object here: the groups module reads it.

use fleetwright_operations::request::{NewOperation, expires_in_seconds, offline, timeout_seconds};
use fleetwright_plugin_api::sdk::{
    At, Fields, FromFields, FromInput, Problem, Reason, bounds, from_input, read,
};
use fleetwright_plugin_api::wire::{CommandStatus, OfflinePolicy};
use fleetwright_protocol::limits::{EXPIRES_IN_SECONDS_DEFAULT, TIMEOUT_SECONDS_DEFAULT};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A set holds at most this many hosts, so a higher limit on running ones would say nothing.
const MAX_CONCURRENCY: i64 = 100_000;
/// Of the list of statuses, and of each in it.
const STATUSES_INVALID: &str = "bulk-statuses-invalid";

/// The body of `POST /fleet/bulk`.
pub type BulkRequest = NewOperation<BulkFields>;

/// The fields that only bulk operations have.
#[derive(Debug, ToSchema)]
#[schema(as = BulkRequest, description = "The body of `POST /fleet/bulk`.")]
pub struct BulkFields {
    /// A run that takes longer is failed with reason `timed_out`. Default 3600.
    timeout_seconds: Option<u64>,
    /// A host that has not started by then is skipped with reason `expired`. Default 86400.
    expires_in_seconds: Option<u64>,
    /// Hosts running at once; 0, the default, is no limit.
    max_concurrency: Option<u64>,
    /// `queue` (default): offline hosts wait; `skip`: they are skipped.
    #[schema(value_type = Option<String>, example = "queue")]
    offline: Option<OfflinePolicy>,
}

/// The body of `POST /fleet/bulk/{id}/cancel`; may be left out.
#[derive(Debug, ToSchema)]
pub struct CancelRequest {
    /// `finish` (default): what runs may end by itself; `kill`: it is ended.
    #[schema(value_type = Option<String>, example = "finish")]
    running: Option<Running>,
    /// Only these hosts; all without it.
    #[schema(value_type = Option<Object>)]
    selector: Option<Map<String, Value>>,
}

/// The body of `POST /fleet/bulk/{id}/retry`; may be left out.
#[derive(ToSchema)]
pub struct RetryRequest {
    /// `failed` (default), `skipped` or both.
    #[schema(value_type = Option<Vec<String>>, example = json!(["failed"]))]
    statuses: Option<Statuses>,
    /// Why, for people and for the audit log. At most 500 characters.
    #[schema(value_type = Option<String>)]
    reason: Option<Reason>,
}

from_input!(CancelRequest { running, selector });
from_input!(RetryRequest { statuses, reason });

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Running {
    Finish,
    Kill,
}

/// Each once.
struct Statuses(Vec<CommandStatus>);

/// One that a host may be retried for.
struct Retried(CommandStatus);

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
pub fn new_bulk(body: Value) -> Result<NewOperation<BulkOptions>, Problem> {
    let request: BulkRequest = read(body)?;
    Ok(request.map_own(BulkFields::options))
}

impl BulkFields {
    fn options(self, dry_run: bool) -> BulkOptions {
        BulkOptions {
            timeout_seconds: self.timeout_seconds.unwrap_or(TIMEOUT_SECONDS_DEFAULT),
            expires_in_seconds: self
                .expires_in_seconds
                .unwrap_or(EXPIRES_IN_SECONDS_DEFAULT),
            max_concurrency: self.max_concurrency.unwrap_or(0),
            offline: self.offline.unwrap_or_default(),
            dry_run,
        }
    }
}

impl CancelRequest {
    pub fn asked(self) -> Cancel {
        Cancel {
            kill: self.running == Some(Running::Kill),
            selector: self.selector.map(Value::Object),
        }
    }
}

impl RetryRequest {
    pub fn asked(self) -> Retry {
        Retry {
            statuses: self
                .statuses
                .map_or_else(|| vec![CommandStatus::Failed], |statuses| statuses.0),
            reason: self.reason.map(|reason| reason.0),
        }
    }
}

impl FromFields for BulkFields {
    fn from_fields(fields: &mut Fields<'_, '_>) -> Option<Self> {
        let concurrency = bounds::whole("operation-concurrency-invalid", 0..=MAX_CONCURRENCY);
        Some(Self {
            timeout_seconds: fields.optional_by("timeout_seconds", timeout_seconds),
            expires_in_seconds: fields.optional_by("expires_in_seconds", expires_in_seconds),
            max_concurrency: fields.optional_by("max_concurrency", concurrency),
            offline: fields.optional_by("offline", offline),
        })
    }
}

impl FromInput for Running {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let words = [("finish", Self::Finish), ("kill", Self::Kill)];
        bounds::word(&value, at, "bulk-running-invalid", &words)
    }
}

impl FromInput for Statuses {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        if value.as_array().is_none_or(Vec::is_empty) {
            at.refuse(STATUSES_INVALID, "must be a list of `failed` and `skipped`");
            return None;
        }
        let mut statuses = Vec::new();
        for Retried(status) in Vec::from_input(value, at)? {
            if !statuses.contains(&status) {
                statuses.push(status);
            }
        }
        Some(Self(statuses))
    }
}

impl FromInput for Retried {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        match value.as_str() {
            Some("failed") => Some(Self(CommandStatus::Failed)),
            Some("skipped") => Some(Self(CommandStatus::Skipped)),
            _other => {
                at.refuse(STATUSES_INVALID, "must be `failed` or `skipped`");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
