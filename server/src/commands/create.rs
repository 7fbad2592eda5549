//! Creates a command set inside the caller's transaction: the frozen hosts as one value, the known skips, and for
//! small sets the rows as well.

use std::collections::BTreeSet;

use fleetwright_plugin_api::wire::{OfflinePolicy, SetCreate, SetPreview, SetView};
use fleetwright_protocol::limits::{
    EXPIRES_IN_SECONDS_MAX, OPERATION_BYTES_MAX, TIMEOUT_SECONDS_MAX,
};
use fleetwright_protocol::references::{PlacedRef, references};
use fleetwright_protocol::time_limit::run_seconds;
use fleetwright_protocol::{EnvironmentValue, HostId, Operation, Violation, validate};
use serde_json::{Value, json};

use super::effects::Effects;
use super::materialise;
use super::service::Commands;
use super::store::sets::{self, NewSet};
use crate::db::{DbError, Tx};
use crate::hosts::host::Approval;
use crate::hosts::registry::HostRegistry;
use crate::secrets::admission::Refusal;

/// The largest fleet a set may address: what the product promises to be fast for.
pub const SET_HOSTS_MAX: usize = 100_000;

#[derive(Debug, thiserror::Error)]
pub enum SetError {
    #[error("the set is not valid")]
    Invalid(Vec<Violation>),
    /// The principal may not use secrets.
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("there is no such set")]
    NotFound,
    #[error("the set has changed: expected generation {expected}, found {found}")]
    StaleGeneration { expected: i64, found: i64 },
    #[error("the set is finished")]
    Finished,
    #[error("the set is cancelled")]
    Cancelled,
    #[error("the set is still being prepared; try again")]
    Preparing,
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Checks a request the way creation does, and says which hosts would be skipped.
pub fn preview(
    registry: &HostRegistry,
    request: &SetCreate,
    hosts: &[HostId],
) -> Result<SetPreview, SetError> {
    let _ = check(request, hosts)?;
    let skips = skips(registry, request, hosts);
    Ok(SetPreview {
        total: hosts.len() as u64,
        skips: skips
            .into_iter()
            .filter_map(|(ordinal, reason)| {
                let host = hosts.get(usize::try_from(ordinal).ok()?)?;
                Some((*host, reason.to_owned()))
            })
            .collect(),
    })
}

/// Whether the principal may launch it with the secrets it names, on these hosts. Asked before the transaction that creates
/// it: groups are a module's, and what is deleted meanwhile is noticed when it is sent.
pub async fn admit_secrets(
    commands: &Commands,
    principal: &str,
    request: &SetCreate,
    hosts: &[HostId],
) -> Result<(), SetError> {
    let placed = named_secrets(request);
    let admitted = commands.secrets().admit(principal, &placed, hosts).await;
    admitted.map_err(|refusal| match refusal {
        Refusal::Forbidden(why) => SetError::Forbidden(why),
        Refusal::Invalid(found) => SetError::Invalid(found),
        Refusal::Db(error) => SetError::Db(error),
    })
}

/// None of an operation that is not valid: that is told by the check of all of it.
fn named_secrets(request: &SetCreate) -> Vec<PlacedRef> {
    let mut variables = request.options.environment.values();
    let in_options = variables.any(|value| matches!(value, EnvironmentValue::Secret(_)));
    if !in_options && !may_name_secrets(&request.parameters) {
        return Vec::new();
    }
    let operation = validate::operation(&request.operation_type, &request.parameters);
    operation
        .map(|operation| references(&operation, &request.options))
        .unwrap_or_default()
}

/// Most operations name none; a large one is not read twice for that.
fn may_name_secrets(value: &Value) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(name, member)| name.ends_with("secret") || may_name_secrets(member)),
        Value::Array(items) => items.iter().any(may_name_secrets),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Creates the set. The dispatcher is told once the transaction is on disk.
pub fn create_in(
    tx: &mut Tx<'_>,
    commands: &Commands,
    request: &SetCreate,
    hosts: Vec<HostId>,
    owner: &str,
    created_by: &str,
) -> Result<SetView, SetError> {
    let (operation_type, operation_json) = check(request, &hosts)?;
    let now = commands.now();
    let skips = skips(commands.registry(), request, &hosts);
    let expires_in_us =
        i64::try_from(request.expires_in_seconds).unwrap_or(i64::MAX / 2_000_000) * 1_000_000;
    let set = NewSet {
        id: request.set_id,
        owner: owner.to_owned(),
        created_by: created_by.to_owned(),
        operation_type,
        operation_json,
        timeout_seconds: run_seconds(request.timeout_seconds, &request.options),
        created_at: now.wall_us,
        expires_at: now.lease_us + expires_in_us,
        max_concurrency: request.max_concurrency,
        held: request.held,
        host_ids: hosts,
        skips,
    };
    sets::insert(tx, &set)?;
    if set.host_ids.len() <= materialise::CHUNK {
        materialise::first_chunk_in(tx, commands, &set)?;
    }
    let view = sets::load(tx, set.id)?.ok_or(SetError::NotFound)?.view;
    let mut effects = Effects::default();
    effects.changed.insert(set.id);
    effects.wake.insert(set.id);
    effects.after_commit(tx, commands.outlets());
    Ok(view)
}

fn check(request: &SetCreate, hosts: &[HostId]) -> Result<(&'static str, String), SetError> {
    let mut found = validate::options(&request.options);
    let operation = validate::operation(&request.operation_type, &request.parameters);
    if !(1..=TIMEOUT_SECONDS_MAX).contains(&request.timeout_seconds) {
        let detail = format!("must be between 1 and {TIMEOUT_SECONDS_MAX}");
        found.push(Violation::new(
            "/timeout_seconds",
            "operation-timeout-invalid",
            detail,
        ));
    }
    if !(1..=EXPIRES_IN_SECONDS_MAX).contains(&request.expires_in_seconds) {
        let detail = format!("must be between 1 and {EXPIRES_IN_SECONDS_MAX}");
        found.push(Violation::new(
            "/expires_in_seconds",
            "operation-expiry-invalid",
            detail,
        ));
    }
    if hosts.is_empty() {
        found.push(Violation::new("", "selection-empty", "no host is selected"));
    }
    if hosts.len() > SET_HOSTS_MAX {
        let detail = format!("at most {SET_HOSTS_MAX} hosts");
        found.push(Violation::new("", "selector-ids-too-many", detail));
    }
    if hosts.iter().collect::<BTreeSet<_>>().len() != hosts.len() {
        found.push(Violation::new(
            "",
            "selector-ids-duplicate",
            "a host is named twice",
        ));
    }
    let operation = match operation {
        Ok(operation) => operation,
        Err(more) => {
            found.extend(more);
            return Err(SetError::Invalid(found));
        }
    };
    found.extend(validate::together(&operation, &request.options));
    let encoded = encode(&operation, request);
    if encoded.len() > OPERATION_BYTES_MAX {
        let detail = format!("the encoded operation is larger than {OPERATION_BYTES_MAX} bytes");
        found.push(Violation::new("/parameters", "operation-too-large", detail));
    }
    if found.is_empty() {
        Ok((operation.operation_type().as_str(), encoded))
    } else {
        Err(SetError::Invalid(found))
    }
}

/// The operation as every agent receives it.
fn encode(operation: &Operation, request: &SetCreate) -> String {
    let mut value = json!(operation);
    if request.options != fleetwright_protocol::ExecutionOptions::default() {
        value["options"] = json!(request.options);
    }
    value.to_string()
}

fn skips(
    registry: &HostRegistry,
    request: &SetCreate,
    hosts: &[HostId],
) -> Vec<(u64, &'static str)> {
    let reason = |host: &HostId| match registry.get(*host) {
        None => Some("host_deleted"),
        Some(meta) if meta.approval != Approval::Approved => Some("not_approved"),
        Some(meta) if request.offline == OfflinePolicy::Skip && !meta.online => Some("offline"),
        Some(_) => None,
    };
    (0_u64..)
        .zip(hosts)
        .filter_map(|(ordinal, host)| Some((ordinal, reason(host)?)))
        .collect()
}
