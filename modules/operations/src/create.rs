//! Creates operations: the row, its set, the audit row and the idempotency record are committed together, or nothing is.
//! What is selected and what is checked before is the kind's.

use fleetwright_plugin_api::sdk::{Batch, Reply, Server};
use fleetwright_plugin_api::wire::{AuditEntry, CallContext, OfflinePolicy, SetCreate};
use fleetwright_protocol::{ExecutionOptions, HostId, SetId};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::created::Created;
use crate::error::OperationError;
use crate::kind::{Asked, CreatedOf, Header, Kind};
use crate::request::{What, selector_of};
use crate::selection::{self, Selected};
use crate::store;
use crate::view::digest_text;

/// All that is written of a new operation.
#[derive(Debug)]
pub struct Draft<K: Kind> {
    pub header: Header<K>,
    pub asked: Asked<K>,
    pub set: SetCreate,
    pub selected: Selected,
    /// What is audited: `create`, or another way to make one.
    pub action: &'static str,
    /// Facts for the audit log beside those of every operation. No secrets: scripts and file contents may hold some.
    pub facts: Map<String, Value>,
}

/// The limits a set is delivered within.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    pub timeout_seconds: u64,
    pub expires_in_seconds: u64,
    /// 0: no limit.
    pub max_concurrency: u64,
    pub offline: OfflinePolicy,
    /// Its hosts wait until they are released.
    pub held: bool,
}

/// Creates an operation from a body, or says everything that is wrong with it.
pub async fn from_body<K: Kind>(
    server: &Server,
    context: &CallContext,
    body: Value,
    id: Option<Uuid>,
) -> Result<CreatedOf<K>, OperationError> {
    let selector = selector_of(&body).cloned();
    match K::read_request(body) {
        Ok(new) => K::create(server, context, new, id).await,
        Err(refused) => {
            let found = match &selector {
                Some(selector) => selection::faults(server, context, selector).await,
                None => Vec::new(),
            };
            Err(OperationError::Unreadable(refused.and_invalid(found)))
        }
    }
}

/// Writes a new operation.
pub async fn accept<K: Kind>(
    server: &Server,
    context: &CallContext,
    draft: Draft<K>,
) -> Result<CreatedOf<K>, OperationError> {
    let (header, hosts) = (&draft.header, &draft.selected.hosts);
    let unknown = draft.selected.unknown_host_ids.clone();
    let view = K::accepted(header, count(hosts), unknown);
    let location = format!("/api/v1/fleet/{}/{}", K::NAMES.module, header.id);
    let reply = Reply::json(202, &view)?.with_header("location", location);
    let batch = Batch::new()
        .sql(store::insert(header, &draft.asked))
        .create_set(&draft.set, hosts)
        .audit(&audit(&draft))
        .signal(K::NAMES.signal)
        .respond(&reply);
    server.db().commit(context, batch).await?;
    let view = Box::new(view);
    Ok(Created::Accepted { view, reply })
}

/// The set an operation is delivered by.
pub fn set(
    set_id: SetId,
    what: &What,
    execution: &ExecutionOptions,
    delivery: Delivery,
) -> SetCreate {
    SetCreate {
        set_id,
        operation_type: what.operation_type(),
        parameters: what.parameters.clone(),
        options: execution.clone(),
        timeout_seconds: delivery.timeout_seconds,
        expires_in_seconds: delivery.expires_in_seconds,
        max_concurrency: delivery.max_concurrency,
        offline: delivery.offline,
        held: delivery.held,
        on_behalf_of: None,
    }
}

/// As it is previewed for whoever asks.
pub fn asked_by(context: &CallContext, set: &SetCreate) -> SetCreate {
    SetCreate {
        on_behalf_of: Some(context.principal.clone()),
        ..set.clone()
    }
}

/// A set holds at most 100,000 hosts.
pub fn count(hosts: &[HostId]) -> u64 {
    u64::try_from(hosts.len()).unwrap_or(u64::MAX)
}

/// The entry of something done to an operation.
pub fn audit_entry<K: Kind>(id: Uuid, action: &str, detail: Value) -> AuditEntry {
    AuditEntry {
        action: format!("{}.{action}", K::NAMES.module),
        target_kind: K::NAMES.audited.to_owned(),
        target_id: id.to_string(),
        detail,
    }
}

/// Facts and digests only.
fn audit<K: Kind>(draft: &Draft<K>) -> AuditEntry {
    let Draft { header, asked, .. } = draft;
    let mut detail = json!({
        "operation_type": header.operation_type,
        "parameters_sha256": digest_text(&asked.parameters),
        "total": draft.selected.hosts.len(),
        "digest": header.digest,
        "dry_run": asked.execution.dry_run,
        "reason": header.reason,
    });
    if let Some(object) = detail.as_object_mut() {
        object.extend(draft.facts.clone());
    }
    audit_entry::<K>(header.id, draft.action, detail)
}
