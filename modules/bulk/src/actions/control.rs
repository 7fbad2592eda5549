//! Pauses, resumes and cancels. Each decides on the set as read and writes against its generation; if someone else
//! controlled it in between, it decides again.

use std::time::Duration;

use fleetwright_operations::selection::{Expected, Order, select};
use fleetwright_plugin_api::sdk::{Batch, IfMatch, Server, ServerError};
use fleetwright_plugin_api::wire::{AuditEntry, CallContext, SetAction, SetControl, SetView};
use fleetwright_protocol::HostId;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{BulkError, OPERATIONS_SIGNAL, read};
use crate::decide::{self, Control, Verdict};
use crate::request::Cancel;
use crate::store::Header;

/// Decisions made again after a lost race. Controls are made by people: more than a few in a row is something else.
const ATTEMPTS_MAX: usize = 5;
/// How often, and how long, a cancel of single hosts waits for their rows, which the core writes after it has created a set:
/// 100,000 take about two seconds, so ten are enough on a busy machine and well within the deadline of a request.
const ROWS_PAUSE: Duration = Duration::from_millis(200);
const ROWS_LOOKS_MAX: usize = 50;

pub async fn pause(
    server: &Server,
    context: &CallContext,
    id: Uuid,
    seen: IfMatch,
) -> Result<(Header, SetView), BulkError> {
    control(server, context, id, seen, Control::Pause).await
}

pub async fn resume(
    server: &Server,
    context: &CallContext,
    id: Uuid,
    seen: IfMatch,
) -> Result<(Header, SetView), BulkError> {
    control(server, context, id, seen, Control::Resume).await
}

/// Cancels the operation, or only the hosts a selector selects.
pub async fn cancel(
    server: &Server,
    context: &CallContext,
    id: Uuid,
    seen: IfMatch,
    asked: Cancel,
) -> Result<(Header, SetView), BulkError> {
    // An unknown id is said before anything about the selector.
    read::operation(server, context.tenant.as_deref(), id).await?;
    let hosts = match &asked.selector {
        Some(selector) => Some(selected(server, context, selector).await?),
        None => None,
    };
    let kill = asked.kill;
    control(server, context, id, seen, Control::Cancel { kill, hosts }).await
}

async fn control(
    server: &Server,
    context: &CallContext,
    id: Uuid,
    seen: IfMatch,
    asked: Control,
) -> Result<(Header, SetView), BulkError> {
    let (mut attempts, mut looks) = (0, 0);
    loop {
        let (header, set) = read::operation(server, context.tenant.as_deref(), id).await?;
        if !seen.matches(set.revision) {
            return Err(BulkError::Stale);
        }
        let standing = decide::standing(&set);
        let action = match decide::control(standing, asked.clone()) {
            Verdict::Nothing => return Ok((header, set)),
            Verdict::Refuse => {
                let (control, state) = (asked.name(), standing.name());
                return Err(BulkError::InvalidTransition { control, state });
            }
            Verdict::Apply(action) => action,
        };
        match server
            .db()
            .commit(context, batch(&header, &set, &asked, action))
            .await
        {
            Ok(()) => return read::operation(server, context.tenant.as_deref(), id).await,
            // Someone else was faster, or the last host finished: what is so now decides.
            Err(
                ServerError::Guard { .. }
                | ServerError::Constraint { .. }
                | ServerError::NotFound(_),
            ) => {
                attempts += 1;
                if attempts == ATTEMPTS_MAX {
                    return Err(BulkError::Contended);
                }
            }
            Err(ServerError::Unavailable(_)) if asked.is_of_hosts() && looks < ROWS_LOOKS_MAX => {
                looks += 1;
                server.sleep(ROWS_PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn batch(header: &Header, set: &SetView, asked: &Control, action: SetAction) -> Batch {
    let audit = AuditEntry {
        action: format!("bulk.{}", asked.name()),
        target_kind: "bulk_operation".to_owned(),
        target_id: header.id.to_string(),
        detail: detail(asked),
    };
    Batch::new()
        .control_set(&SetControl {
            set_id: header.set_id,
            action,
            expect_generation: Some(set.generation),
        })
        .audit(&audit)
        .signal(OPERATIONS_SIGNAL)
}

fn detail(asked: &Control) -> Value {
    match asked {
        Control::Pause | Control::Resume => Value::Null,
        Control::Cancel { kill, hosts } => json!({
            "running": if *kill { "kill" } else { "finish" },
            "hosts": hosts.as_ref().map(Vec::len),
        }),
    }
}

async fn selected(
    server: &Server,
    context: &CallContext,
    selector: &Value,
) -> Result<Vec<HostId>, BulkError> {
    let selected = select(server, context, selector, &Expected::default(), Order::ById).await?;
    Ok(selected.hosts)
}
