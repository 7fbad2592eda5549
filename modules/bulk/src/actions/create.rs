//! Creates an operation: resolves the selector once, freezes the hosts, and commits the operation, its set, the audit
//! row and the idempotency record together. A plan goes the same way and stops before the commit.

use fleetwright_operations::selection::{self, Order, Selected, select};
use fleetwright_plugin_api::sdk::{Batch, Reply, Server};
use fleetwright_plugin_api::wire::{AuditEntry, CallContext, CommandStatus, SetCreate};
use fleetwright_protocol::{HostId, Operation, SetId};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{BulkError, OPERATIONS_SIGNAL};
use crate::decide::Status;
use crate::request::{self, NewBulk, RunOptions};
use crate::store::{self, Asked, Header, StoredSelector};
use crate::view::{self, BulkAccepted, BulkPlan};

/// What became of a request for a new operation.
#[derive(Debug)]
pub enum Created {
    Accepted(Box<Accepted>),
    Planned(Box<BulkPlan>),
}

/// An accepted operation and the answer that was stored for it.
#[derive(Debug)]
pub struct Accepted {
    pub view: BulkAccepted,
    pub reply: Reply,
}

/// Where a new operation comes from, beside its request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origin {
    /// Chosen by a caller that must not create it twice.
    pub id: Option<Uuid>,
    /// The operation it retries, and which of its hosts.
    pub parent: Option<(Uuid, Vec<CommandStatus>)>,
}

/// Creates an operation from a body, or says everything that is wrong with it.
pub async fn create_from_body(
    server: &Server,
    context: &CallContext,
    body: &Value,
    origin: Origin,
) -> Result<Created, BulkError> {
    match request::new_bulk(body) {
        Ok(new) => create(server, context, new, origin).await,
        Err(mut found) => {
            if let Some(selector) = request::selector_of(body) {
                found.extend(selection::faults(server, context, selector).await);
            }
            Err(BulkError::Invalid(found))
        }
    }
}

/// Creates an operation, or plans it if that is what was asked.
pub async fn create(
    server: &Server,
    context: &CallContext,
    new: NewBulk,
    origin: Origin,
) -> Result<Created, BulkError> {
    let selected = select(server, context, &new.selector, &new.expected, Order::ById).await?;
    if new.plan_only {
        return plan(server, new, selected).await;
    }
    let header = header(server, context, &new, &selected, &origin);
    let accepted = accepted(&header, &selected)?;
    let set = set_create(header.set_id, &new.operation, &new.parameters, &new.options);
    let asked = Asked {
        parameters: new.parameters,
        execution: new.options.execution,
        selector: StoredSelector::of(new.selector),
    };
    let audit = audit(&header, &asked, selected.hosts.len(), &origin);
    let batch = Batch::new()
        .sql(store::insert(&header, &asked, context.tenant.as_deref()))
        .create_set(&set, &selected.hosts)
        .audit(&audit)
        .signal(OPERATIONS_SIGNAL)
        .respond(&accepted.reply);
    server.db().commit(context, batch).await?;
    Ok(Created::Accepted(Box::new(accepted)))
}

async fn plan(server: &Server, new: NewBulk, selected: Selected) -> Result<Created, BulkError> {
    let set_id = SetId(server.new_id());
    let set = set_create(set_id, &new.operation, &new.parameters, &new.options);
    let preview = server.sets().preview(&set, &selected.hosts).await?;
    let (hosts, skips) = view::planned(&selected.hosts, preview);
    Ok(Created::Planned(Box::new(BulkPlan {
        plan_only: true,
        operation_type: new.operation.operation_type().as_str().to_owned(),
        total: count(&selected.hosts),
        digest: selected.digest,
        unknown_host_ids: selected.unknown_host_ids,
        hosts,
        skips,
        plan: view::plan(&new.operation),
    })))
}

fn header(
    server: &Server,
    context: &CallContext,
    new: &NewBulk,
    selected: &Selected,
    origin: &Origin,
) -> Header {
    let id = origin.id.unwrap_or_else(|| server.new_id());
    Header {
        id,
        set_id: SetId(id),
        parent_id: origin.parent.as_ref().map(|(parent_id, _)| *parent_id),
        created_by: context.principal.clone(),
        created_by_name: context.principal_name.clone(),
        created_at_us: server.now_us(),
        operation_type: new.operation.operation_type().as_str().to_owned(),
        digest: selected.digest.clone(),
        terms: new.options.terms.clone(),
        reason: new.reason.clone(),
        status: Status::Queued,
        status_revision: 0,
    }
}

fn set_create(
    set_id: SetId,
    operation: &Operation,
    parameters: &Value,
    options: &RunOptions,
) -> SetCreate {
    SetCreate {
        set_id,
        operation_type: operation.operation_type().as_str().to_owned(),
        parameters: parameters.clone(),
        options: options.execution.clone(),
        timeout_seconds: options.terms.timeout_seconds,
        expires_in_seconds: options.terms.expires_in_seconds,
        max_concurrency: options.terms.max_concurrency,
        offline: options.terms.offline,
        held: false,
    }
}

fn accepted(header: &Header, selected: &Selected) -> Result<Accepted, BulkError> {
    let total = count(&selected.hosts);
    let view = view::accepted(header, total, selected.unknown_host_ids.clone());
    let location = format!("/api/v1/fleet/bulk/{}", header.id);
    let reply = Reply::json(202, &view)?.with_header("location", location);
    Ok(Accepted { view, reply })
}

/// Facts and digests only: scripts and file contents may hold secrets.
fn audit(header: &Header, asked: &Asked, total: usize, origin: &Origin) -> AuditEntry {
    let action = match origin.parent {
        Some(_) => "bulk.retry",
        None => "bulk.create",
    };
    AuditEntry {
        action: action.to_owned(),
        target_kind: "bulk_operation".to_owned(),
        target_id: header.id.to_string(),
        detail: json!({
            "operation_type": header.operation_type,
            "parameters_sha256": view::digest_text(&asked.parameters),
            "total": total,
            "digest": header.digest,
            "dry_run": header.terms.dry_run,
            "reason": header.reason,
            "parent_id": header.parent_id,
            "retried_statuses": origin.parent.as_ref().map(|(_, statuses)| statuses),
        }),
    }
}

fn count(hosts: &[HostId]) -> u64 {
    u64::try_from(hosts.len()).unwrap_or(u64::MAX)
}
