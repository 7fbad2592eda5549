//! Reads request bodies: every violation with its place, not the first. Pure. The selector is only known to be an
//! object here: the groups module reads it.

mod fields;

use std::collections::BTreeMap;

use fleetwright_plugin_api::wire::{CommandStatus, OfflinePolicy};
use fleetwright_protocol::limits::{
    EXPIRES_IN_SECONDS_DEFAULT, EXPIRES_IN_SECONDS_MAX, OPERATION_BYTES_MAX,
    TIMEOUT_SECONDS_DEFAULT,
};
use fleetwright_protocol::{ExecutionOptions, HealthCheck, Operation, Violation, validate};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use fields::Fields;

/// A set holds at most this many hosts, so a higher limit on running ones would say nothing.
const MAX_CONCURRENCY: u64 = 100_000;
/// Room for a change ticket and a sentence; it is shown in lists.
const REASON_CHARS_MAX: usize = 500;

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

/// A valid request for a new operation, but for its selector.
#[derive(Clone, Debug, PartialEq)]
pub struct NewBulk {
    pub operation: Operation,
    /// As the client sent them.
    pub parameters: Value,
    pub options: RunOptions,
    pub reason: Option<String>,
    pub plan_only: bool,
    pub selector: Value,
    pub expected_digest: Option<String>,
    pub expected_count: Option<u64>,
}

/// How an operation is run; stored in its two parts, and used again by a retry.
#[derive(Clone, Debug, PartialEq)]
pub struct RunOptions {
    /// What the hosts are told. May be as large as an operation: the environment is in it.
    pub execution: ExecutionOptions,
    pub terms: Terms,
}

/// What lists show of how an operation is run: a few small values, whatever a client sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
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
pub fn new_bulk(body: &Value) -> Result<NewBulk, Vec<Violation>> {
    let mut fields = Fields::of(body)?;
    let operation_type = fields.required_text("operation_type", "operation-type-unknown");
    let parameters = fields
        .value("parameters")
        .cloned()
        .unwrap_or_else(|| Value::Object(Map::new()));
    let operation = operation_type.and_then(|kind| operation(&mut fields, kind, &parameters));
    let selector = selector(&mut fields);
    if selector.is_none() && !fields.has("selector") {
        fields.refuse("selector", "selector-empty", "is required");
    }
    let options = run_options(&mut fields);
    let reason = reason(&mut fields);
    let plan_only = fields.flag("plan_only");
    let expected_digest = expected_digest(&mut fields);
    let expected_count = fields.number(
        "expected_count",
        "selection-expectation-invalid",
        0..=i64::MAX,
    );
    if let (Some(operation), Some(options)) = (&operation, &options) {
        fields.refuse_all(validate::together(operation, &options.execution));
    }
    fields.finish()?;
    match (operation, selector, options) {
        (Some(operation), Some(selector), Some(options)) => Ok(NewBulk {
            operation,
            parameters,
            options,
            reason,
            plan_only,
            selector,
            expected_digest,
            expected_count,
        }),
        // Whatever is missing was reported above, so `finish` has returned.
        _incomplete => Err(Vec::new()),
    }
}

/// Reads the body of a cancel.
pub fn cancel(body: &Value) -> Result<Cancel, Vec<Violation>> {
    let mut fields = Fields::of(body)?;
    let running = fields.word("running", "bulk-running-invalid", &["finish", "kill"]);
    let selector = selector(&mut fields);
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
    let reason = reason(&mut fields);
    fields.finish()?;
    Ok(Retry { statuses, reason })
}

/// The selector of a body that is otherwise wrong, so that its own faults can be reported with the rest.
pub fn selector_of(body: &Value) -> Option<&Value> {
    body.get("selector").filter(|selector| selector.is_object())
}

fn operation(fields: &mut Fields<'_>, kind: &str, parameters: &Value) -> Option<Operation> {
    match validate::operation(kind, parameters) {
        Ok(operation) => {
            let bytes = serde_json::to_vec(&operation).map_or(usize::MAX, |bytes| bytes.len());
            if bytes > OPERATION_BYTES_MAX {
                let detail = format!(
                    "the operation is {bytes} bytes, at most {OPERATION_BYTES_MAX} fit; use a blob"
                );
                fields.refuse("parameters", "operation-too-large", &detail);
            }
            Some(operation)
        }
        Err(found) => {
            fields.refuse_all(found);
            None
        }
    }
}

fn selector(fields: &mut Fields<'_>) -> Option<Value> {
    let value = fields.value("selector")?;
    if !value.is_object() {
        fields.refuse("selector", "selector-value-invalid", "must be an object");
    }
    Some(value.clone())
}

fn run_options(fields: &mut Fields<'_>) -> Option<RunOptions> {
    let execution = ExecutionOptions {
        dry_run: fields.flag("dry_run"),
        working_directory: fields.text("working_directory").map(str::to_owned),
        environment: fields.texts_by_name("environment"),
        run_as: fields.text("run_as").map(str::to_owned),
        health_check: health_check(fields),
    };
    let found = validate::options(&execution);
    fields.refuse_all(found);
    let timeout = fields.integer("timeout_seconds", "operation-timeout-invalid");
    let timeout_seconds =
        timeout.map_or(
            Some(TIMEOUT_SECONDS_DEFAULT),
            |seconds| match validate::timeout_seconds(seconds) {
                Ok(seconds) => Some(seconds),
                Err(violation) => {
                    fields.refuse_all(vec![violation]);
                    None
                }
            },
        );
    let expires_max = i64::try_from(EXPIRES_IN_SECONDS_MAX).unwrap_or(i64::MAX);
    let expires_in_seconds = fields.number(
        "expires_in_seconds",
        "operation-expiry-invalid",
        1..=expires_max,
    );
    let concurrency_max = i64::try_from(MAX_CONCURRENCY).unwrap_or(i64::MAX);
    let max_concurrency = fields.number(
        "max_concurrency",
        "operation-concurrency-invalid",
        0..=concurrency_max,
    );
    let offline = fields.word("offline", "operation-offline-invalid", &["queue", "skip"]);
    let terms = Terms {
        timeout_seconds: timeout_seconds?,
        expires_in_seconds: expires_in_seconds.unwrap_or(EXPIRES_IN_SECONDS_DEFAULT),
        max_concurrency: max_concurrency.unwrap_or(0),
        offline: if offline == Some("skip") {
            OfflinePolicy::Skip
        } else {
            OfflinePolicy::Queue
        },
        dry_run: execution.dry_run,
    };
    Some(RunOptions { execution, terms })
}

fn health_check(fields: &mut Fields<'_>) -> Option<HealthCheck> {
    match validate::health_check(fields.value("health_check")?) {
        Ok(check) => Some(check),
        Err(found) => {
            let found = found.into_iter();
            fields.refuse_all(found.map(|one| one.under("/health_check")).collect());
            None
        }
    }
}

fn reason(fields: &mut Fields<'_>) -> Option<String> {
    let text = fields.text("reason")?;
    if text.chars().count() > REASON_CHARS_MAX || text.chars().any(char::is_control) {
        let detail = format!("must be at most {REASON_CHARS_MAX} printable characters");
        fields.refuse("reason", "operation-reason-invalid", &detail);
    }
    Some(text.to_owned())
}

fn expected_digest(fields: &mut Fields<'_>) -> Option<String> {
    let text = fields.text("expected_digest")?;
    let fits = text
        .strip_prefix("sha256:")
        .is_some_and(validate::sha256_hex);
    if !fits {
        let detail = "must be `sha256:` and 64 lower-case hex digits";
        fields.refuse("expected_digest", "selection-expectation-invalid", detail);
    }
    Some(text.to_owned())
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
