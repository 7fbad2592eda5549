//! Creates an operation: resolves the selector once, freezes the hosts, and has all of it written together. A plan goes the
//! same way and stops before the commit.

use fleetwright_operations::create::{Delivery, Draft, accept, asked_by, count, set};
use fleetwright_operations::created::Created;
use fleetwright_operations::kind::CreatedOf;
use fleetwright_operations::request::NewOperation;
use fleetwright_operations::selection::{Order, Selected, StoredSelector, select};
use fleetwright_operations::view::{plan, planned};
use fleetwright_operations::{Asked, OperationError};
use fleetwright_plugin_api::sdk::Server;
use fleetwright_plugin_api::wire::{CallContext, CommandStatus, SetCreate};
use fleetwright_protocol::SetId;
use serde_json::{Map, json};
use uuid::Uuid;

use crate::decide::Status;
use crate::request::BulkOptions;
use crate::row::{BulkColumns, BulkHeader, BulkKind};
use crate::view::BulkPlan;

/// Where a new operation comes from, beside its request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origin {
    /// Chosen by a caller that must not create it twice.
    pub id: Option<Uuid>,
    /// The operation it retries, and which of its hosts.
    pub parent: Option<(Uuid, Vec<CommandStatus>)>,
}

/// Creates an operation, or plans it if that is what was asked.
pub async fn create(
    server: &Server,
    context: &CallContext,
    new: NewOperation<BulkOptions>,
    origin: Origin,
) -> Result<CreatedOf<BulkKind>, OperationError> {
    let selected = select(server, context, &new.selector, &new.expected, Order::ById).await?;
    if new.plan_only {
        return planned_only(server, context, &new, selected).await;
    }
    let id = origin.id.unwrap_or_else(|| server.new_id());
    let (parent_id, retried) = origin.parent.unzip();
    let own = BulkColumns {
        parent_id,
        status: Status::Queued,
        status_revision: 0,
    };
    let parts = (new.own.clone(), own);
    let header = BulkHeader::new(server, context, id, &new, &selected.digest, parts);
    let mut facts = Map::new();
    facts.insert("parent_id".to_owned(), json!(parent_id));
    facts.insert("retried_statuses".to_owned(), json!(retried));
    let draft = Draft {
        set: set_create(header.set_id, &new),
        header,
        asked: Asked {
            parameters: new.what.parameters,
            execution: new.execution,
            selector: StoredSelector::of(new.selector),
            more: (),
        },
        selected,
        action: if parent_id.is_some() {
            "retry"
        } else {
            "create"
        },
        facts,
    };
    accept(server, context, draft).await
}

async fn planned_only(
    server: &Server,
    context: &CallContext,
    new: &NewOperation<BulkOptions>,
    selected: Selected,
) -> Result<CreatedOf<BulkKind>, OperationError> {
    let set = set_create(SetId(server.new_id()), new);
    let set = asked_by(context, &set);
    let preview = server.sets().preview(&set, &selected.hosts).await?;
    let (hosts, skips) = planned(&selected.hosts, preview);
    Ok(Created::Planned(Box::new(BulkPlan {
        plan_only: true,
        operation_type: new.what.operation_type(),
        total: count(&selected.hosts),
        digest: selected.digest,
        unknown_host_ids: selected.unknown_host_ids,
        hosts,
        skips,
        plan: plan(&new.what.operation),
    })))
}

fn set_create(set_id: SetId, new: &NewOperation<BulkOptions>) -> SetCreate {
    let delivery = Delivery {
        timeout_seconds: new.own.timeout_seconds,
        expires_in_seconds: new.own.expires_in_seconds,
        max_concurrency: new.own.max_concurrency,
        offline: new.own.offline,
        held: false,
    };
    set(set_id, &new.what, &new.execution, delivery)
}
