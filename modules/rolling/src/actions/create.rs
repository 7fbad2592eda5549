//! Creates a deployment: resolves the selector once, freezes the hosts in the order of the batches, and commits the
//! deployment, its held set, the audit row and the idempotency record together. A plan goes the same way and stops before
//! the commit.

use fleetwright_operations::request::What;
use fleetwright_operations::selection::{self, Order, Selected, StoredSelector, select};
use fleetwright_operations::view::digest_text;
use fleetwright_plugin_api::sdk::{Batch, Reply, Server, ServerError};
use fleetwright_plugin_api::wire::{AuditEntry, CallContext, OfflinePolicy, SetCreate, SetPreview};
use fleetwright_protocol::{ExecutionOptions, SetId};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{DEPLOYMENTS_SIGNAL, RollingError};
use crate::decide::Deployment;
use crate::request::{self, NewRolling, Terms};
use crate::store::{self, Asked, Header};
use crate::view::{self, RollingAccepted, RollingPlan};

/// What became of a request for a new deployment.
#[derive(Debug)]
pub enum Created {
    Accepted(Box<Accepted>),
    Planned(Box<RollingPlan>),
}

/// An accepted deployment and the answer that was stored for it.
#[derive(Debug)]
pub struct Accepted {
    pub view: RollingAccepted,
    pub reply: Reply,
}

/// Creates a deployment from a body, or says everything that is wrong with it. The id is chosen by a caller that must not
/// create it twice.
pub async fn create_from_body(
    server: &Server,
    context: &CallContext,
    body: &Value,
    id: Option<Uuid>,
) -> Result<Created, RollingError> {
    match request::new_rolling(body) {
        Ok(new) => create(server, context, new, id).await,
        Err(mut found) => {
            if let Some(selector) = request::selector_of(body) {
                found.extend(selection::faults(server, context, selector).await);
            }
            Err(RollingError::Invalid(found))
        }
    }
}

async fn create(
    server: &Server,
    context: &CallContext,
    new: NewRolling,
    id: Option<Uuid>,
) -> Result<Created, RollingError> {
    let order = Order::OnlineThenName;
    let selected = select(server, context, &new.selector, &new.expected, order).await?;
    let id = id.unwrap_or_else(|| server.new_id());
    let set = set_create(SetId(id), &new.what, &new.execution, &new.terms);
    let preview = server.sets().preview(&set, &selected.hosts).await?;
    if let Some(rollback) = &new.rollback {
        // A rollback the core would refuse must not be found out when it is needed.
        let set = rollback_set(SetId(id), rollback, &new.execution, &new.terms);
        let checked = server.sets().preview(&set, &selected.hosts).await;
        checked.map_err(under_rollback)?;
    }
    if new.plan_only {
        return Ok(Created::Planned(Box::new(plan(&new, selected, preview))));
    }
    let header = header(server, context, &new, &selected, id);
    let accepted = accepted(&header, &selected)?;
    let asked = Asked {
        parameters: new.what.parameters,
        execution: new.execution,
        selector: StoredSelector::of(new.selector),
        rollback: new.rollback.map(|what| rollback_json(&what)),
    };
    let batch = Batch::new()
        .sql(store::insert(&header, &asked))
        .create_set(&set, &selected.hosts)
        .audit(&audit(&header, &asked))
        .signal(DEPLOYMENTS_SIGNAL)
        .respond(&accepted.reply);
    server.db().commit(context, batch).await?;
    Ok(Created::Accepted(Box::new(accepted)))
}

/// The set that a rollback runs as. It has no health check: that was of the operation it undoes.
pub(super) fn rollback_set(
    set_id: SetId,
    what: &What,
    execution: &ExecutionOptions,
    terms: &Terms,
) -> SetCreate {
    let execution = ExecutionOptions {
        health_check: None,
        ..execution.clone()
    };
    SetCreate {
        // Hosts that had started are waited for.
        offline: OfflinePolicy::Queue,
        ..set_create(set_id, what, &execution, terms)
    }
}

fn set_create(
    set_id: SetId,
    what: &What,
    execution: &ExecutionOptions,
    terms: &Terms,
) -> SetCreate {
    SetCreate {
        set_id,
        operation_type: what.operation.operation_type().as_str().to_owned(),
        parameters: what.parameters.clone(),
        options: execution.clone(),
        timeout_seconds: terms.timeout_seconds,
        expires_in_seconds: terms.expires_in_seconds,
        max_concurrency: 0,
        offline: terms.offline,
        held: true,
    }
}

fn under_rollback(error: ServerError) -> RollingError {
    match error {
        ServerError::Refused(problem) => ServerError::Refused(Box::new(problem.under("/rollback"))),
        other => other,
    }
    .into()
}

fn plan(new: &NewRolling, selected: Selected, preview: SetPreview) -> RollingPlan {
    let total = view::count(&selected.hosts);
    let policy = new.terms.policy(total, new.rollback.is_some());
    let (hosts, skips) = view::planned(&selected.hosts, preview);
    RollingPlan {
        plan_only: true,
        operation_type: new.what.operation.operation_type().as_str().to_owned(),
        total,
        digest: selected.digest,
        unknown_host_ids: selected.unknown_host_ids,
        batch_count: policy.partition.count(),
        batches: view::planned_batches(&policy, &selected.hosts),
        hosts,
        skips,
        plan: view::plan(&new.what.operation),
    }
}

fn header(
    server: &Server,
    context: &CallContext,
    new: &NewRolling,
    selected: &Selected,
    id: Uuid,
) -> Header {
    Header {
        id,
        set_id: SetId(id),
        rollback_set_id: None,
        created_by: context.principal.clone(),
        created_by_name: context.principal_name.clone(),
        created_at_us: server.now_us(),
        finished_at_us: None,
        operation_type: new.what.operation.operation_type().as_str().to_owned(),
        digest: selected.digest.clone(),
        reason: new.reason.clone(),
        policy: new
            .terms
            .policy(view::count(&selected.hosts), new.rollback.is_some()),
        terms: new.terms.clone(),
        machine: Deployment::new(),
        generation: 1,
        tenant: context.tenant.clone(),
    }
}

fn accepted(header: &Header, selected: &Selected) -> Result<Accepted, RollingError> {
    let view = view::accepted(header, selected.unknown_host_ids.clone());
    let location = format!("/api/v1/fleet/rolling/{}", header.id);
    let reply = Reply::json(202, &view)?.with_header("location", location);
    Ok(Accepted { view, reply })
}

fn rollback_json(what: &What) -> Value {
    json!({"operation_type": what.operation.operation_type().as_str(), "parameters": what.parameters})
}

/// Facts and digests only: scripts and file contents may hold secrets.
fn audit(header: &Header, asked: &Asked) -> AuditEntry {
    AuditEntry {
        action: "rolling.create".to_owned(),
        target_kind: "rolling_deployment".to_owned(),
        target_id: header.id.to_string(),
        detail: json!({
            "operation_type": header.operation_type,
            "parameters_sha256": digest_text(&asked.parameters),
            "rollback_sha256": asked.rollback.as_ref().map(digest_text),
            "total": header.policy.total,
            "digest": header.digest,
            "dry_run": header.terms.dry_run,
            "reason": header.reason,
        }),
    }
}
