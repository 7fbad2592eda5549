//! Runs an operation again on those of its hosts that failed or were skipped, as a new operation that names its parent.

use fleetwright_operations::kind::CreatedOf;
use fleetwright_operations::request::{NewOperation, What};
use fleetwright_operations::selection::{Expected, SelectionError};
use fleetwright_operations::{OperationError, store};
use fleetwright_plugin_api::sdk::Server;
use fleetwright_plugin_api::wire::{CallContext, CommandStatus};
use fleetwright_protocol::{HostId, SetId, validate};
use serde_json::{Value, json};
use uuid::Uuid;

use super::create::{Origin, create};
use crate::request::Retry;
use crate::row::BulkKind;

/// Rows of one read while the hosts are collected: the most the API itself pages by.
const PAGE: u32 = 500;

/// Creates the retry. Hosts that are terminal now are taken; those still running are left alone.
pub async fn retry(
    server: &Server,
    context: &CallContext,
    id: Uuid,
    asked_for: Retry,
) -> Result<CreatedOf<BulkKind>, OperationError> {
    let parent = store::with_asked::<BulkKind>(server.db(), id, context.tenant.as_deref()).await?;
    let (parent, asked) = parent.ok_or(OperationError::NotFound)?;
    let hosts = hosts_with(server, parent.set_id, &asked_for.statuses).await?;
    if hosts.is_empty() {
        return Err(SelectionError::SelectionEmpty.into());
    }
    let operation = validate::operation(&parent.operation_type, &asked.parameters)
        .map_err(OperationError::Invalid)?;
    // What was allowed when the parent was made may not be any more.
    let found = validate::together(&operation, &asked.execution);
    if !found.is_empty() {
        return Err(OperationError::Invalid(found));
    }
    let new = NewOperation {
        what: What {
            operation,
            parameters: asked.parameters,
        },
        execution: asked.execution,
        own: parent.options,
        reason: asked_for.reason.or(parent.reason),
        plan_only: false,
        selector: explicit(&hosts),
        expected: Expected::default(),
    };
    let origin = Origin {
        id: None,
        parent: Some((id, asked_for.statuses)),
    };
    create(server, context, new, origin).await
}

/// Selects by id, so that hosts deleted since are left out.
fn explicit(hosts: &[HostId]) -> Value {
    json!({ "explicit_host_ids": hosts })
}

async fn hosts_with(
    server: &Server,
    set_id: SetId,
    statuses: &[CommandStatus],
) -> Result<Vec<HostId>, OperationError> {
    let mut hosts = Vec::new();
    for status in statuses {
        let mut cursor = 0;
        loop {
            let page = server
                .sets()
                .commands(set_id, Some(*status), cursor, PAGE)
                .await?;
            hosts.extend(page.items.into_iter().map(|command| command.host_id));
            match page.next_cursor {
                Some(next) => cursor = next,
                None => break,
            }
        }
    }
    Ok(hosts)
}
