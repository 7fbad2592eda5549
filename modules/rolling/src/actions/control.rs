//! Pauses, resumes, cancels and approves. Each decides on the deployment as read and writes against its generation; if someone
//! else wrote in between, it decides again.

use fleetwright_plugin_api::sdk::{IfMatch, Server, ServerError};
use fleetwright_plugin_api::wire::{AuditEntry, CallContext};
use serde_json::{Value, json};
use uuid::Uuid;

use super::read::{self, Standing};
use super::{RollingError, advance};
use crate::decide::control::{Control, control as decide_control};

/// Decisions made again after a lost race: the controller writes while batches are released, several times a second.
const ATTEMPTS_MAX: usize = 20;

/// Applies a control and returns the deployment as it is then.
pub async fn control(
    server: &Server,
    context: &CallContext,
    id: Uuid,
    seen: IfMatch,
    asked: Control,
) -> Result<Standing, RollingError> {
    for _attempt in 0..ATTEMPTS_MAX {
        let standing = read::deployment(server, context.tenant.as_deref(), id).await?;
        if !seen.matches(standing.revision()) {
            return Err(RollingError::Stale);
        }
        let now_us = server.now_us();
        let rollback = advance::rollback_seen(server, &standing).await?;
        let snapshot = advance::snapshot(&standing, rollback);
        let Some(step) = decide_control(&snapshot, asked, now_us)? else {
            return Ok(standing);
        };
        let batch = advance::batch_of(server, context, &standing, &step, None, now_us).await?;
        let audit = AuditEntry {
            action: format!("rolling.{}", asked.name()),
            target_kind: "rolling_deployment".to_owned(),
            target_id: id.to_string(),
            detail: detail(asked),
        };
        match server.db().commit(context, batch.audit(&audit)).await {
            Ok(()) => return read::deployment(server, context.tenant.as_deref(), id).await,
            // Someone else was faster, or the last host finished: what is so now decides.
            Err(ServerError::Guard { .. } | ServerError::Constraint { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(RollingError::Contended)
}

fn detail(asked: Control) -> Value {
    match asked {
        Control::Pause | Control::Resume => Value::Null,
        Control::Cancel { kill } => json!({"running": if kill { "kill" } else { "finish" }}),
        Control::Approve { batch } => json!({ "batch": batch }),
    }
}
