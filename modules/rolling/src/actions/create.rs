//! Creates a deployment: resolves the selector once, freezes the hosts in the order of the batches, and has all of it written
//! together. A plan goes the same way and stops before the commit.

use fleetwright_operations::create::{Delivery, Draft, accept, asked_by, count, set};
use fleetwright_operations::created::Created;
use fleetwright_operations::kind::CreatedOf;
use fleetwright_operations::request::{NewOperation, What};
use fleetwright_operations::selection::{Order, Selected, StoredSelector, select};
use fleetwright_operations::view::{digest_text, plan, planned};
use fleetwright_operations::{Asked, OperationError};
use fleetwright_plugin_api::sdk::{Server, ServerError};
use fleetwright_plugin_api::wire::{CallContext, OfflinePolicy, SetCreate, SetPreview};
use fleetwright_protocol::{ExecutionOptions, SetId};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::decide::Deployment;
use crate::request::{RollingFields, RollingOptions};
use crate::row::{DeploymentHeader, RollbackColumn, RollingColumns, RollingKind};
use crate::view::{RollingPlan, planned_batches};

/// Creates a deployment, or plans it if that is what was asked. The id is chosen by a caller that must not create it twice.
pub async fn create(
    server: &Server,
    context: &CallContext,
    new: NewOperation<RollingFields>,
    id: Option<Uuid>,
) -> Result<CreatedOf<RollingKind>, OperationError> {
    let order = Order::OnlineThenName;
    let selected = select(server, context, &new.selector, &new.expected, order).await?;
    let id = id.unwrap_or_else(|| server.new_id());
    let RollingFields { options, rollback } = &new.own;
    let set = set_create(SetId(id), &new.what, &new.execution, options);
    let asked = asked_by(context, &set);
    let preview = server.sets().preview(&asked, &selected.hosts).await?;
    if let Some(rollback) = rollback {
        // A rollback the core would refuse must not be found out when it is needed.
        let set = rollback_set(SetId(id), rollback, &new.execution, options);
        let asked = asked_by(context, &set);
        let checked = server.sets().preview(&asked, &selected.hosts).await;
        checked.map_err(under_rollback)?;
    }
    if new.plan_only {
        let plan = planned_only(&new, selected, preview);
        return Ok(Created::Planned(Box::new(plan)));
    }
    let own = RollingColumns {
        rollback_set_id: None,
        finished_at_us: None,
        policy: options.policy(count(&selected.hosts), rollback.is_some()),
        machine: Deployment::new(),
        generation: 1,
    };
    let rollback = rollback.as_ref().map(rollback_json);
    let mut facts = Map::new();
    let digest = rollback.as_ref().map(digest_text);
    facts.insert("rollback_sha256".to_owned(), json!(digest));
    let parts = (options.clone(), own);
    let draft = Draft {
        header: DeploymentHeader::new(server, context, id, &new, &selected.digest, parts),
        asked: Asked {
            parameters: new.what.parameters,
            execution: new.execution,
            selector: StoredSelector::of(new.selector),
            more: RollbackColumn(rollback),
        },
        set,
        selected,
        action: "create",
        facts,
    };
    accept(server, context, draft).await
}

/// The set that a rollback runs as. It has no health check: that was of the operation it undoes.
pub(super) fn rollback_set(
    set_id: SetId,
    what: &What,
    execution: &ExecutionOptions,
    options: &RollingOptions,
) -> SetCreate {
    let execution = ExecutionOptions {
        health_check: None,
        ..execution.clone()
    };
    SetCreate {
        // Hosts that had started are waited for.
        offline: OfflinePolicy::Queue,
        ..set_create(set_id, what, &execution, options)
    }
}

fn set_create(
    set_id: SetId,
    what: &What,
    execution: &ExecutionOptions,
    options: &RollingOptions,
) -> SetCreate {
    let delivery = Delivery {
        timeout_seconds: options.timeout_seconds,
        expires_in_seconds: options.expires_in_seconds,
        max_concurrency: 0,
        offline: options.offline,
        held: true,
    };
    set(set_id, what, execution, delivery)
}

fn under_rollback(error: ServerError) -> OperationError {
    match error {
        ServerError::Refused(problem) => ServerError::Refused(Box::new(problem.under("/rollback"))),
        other => other,
    }
    .into()
}

fn planned_only(
    new: &NewOperation<RollingFields>,
    selected: Selected,
    preview: SetPreview,
) -> RollingPlan {
    let RollingFields { options, rollback } = &new.own;
    let total = count(&selected.hosts);
    let policy = options.policy(total, rollback.is_some());
    let (hosts, skips) = planned(&selected.hosts, preview);
    RollingPlan {
        plan_only: true,
        operation_type: new.what.operation_type(),
        total,
        digest: selected.digest,
        unknown_host_ids: selected.unknown_host_ids,
        batch_count: policy.partition.count(),
        batches: planned_batches(&policy, &selected.hosts),
        hosts,
        skips,
        plan: plan(&new.what.operation),
    }
}

fn rollback_json(what: &What) -> Value {
    json!({"operation_type": what.operation_type(), "parameters": what.parameters})
}
