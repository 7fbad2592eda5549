//! Deletes a schedule with its runs. What it has launched goes on: that is another module's.

use fleetwright_plugin_api::sdk::{AuditEntry, Batch, CallContext, IfMatch, Server, ServerError};
use serde_json::json;
use uuid::Uuid;

use super::{ARMED_SIGNAL, ATTEMPTS_MAX, SchedulesError};
use crate::store::{self, Header, runs};

pub async fn delete(
    server: &Server,
    context: &CallContext,
    id: Uuid,
    seen: &IfMatch,
) -> Result<(), SchedulesError> {
    for _ in 0..ATTEMPTS_MAX {
        let header = store::header(server.db(), id).await?;
        let header = header.ok_or(SchedulesError::NotFound)?;
        if !seen.matches(header.revision) {
            return Err(SchedulesError::Stale);
        }
        match server.db().commit(context, batch(&header)).await {
            Ok(()) => return Ok(()),
            // It was changed or deleted in between: what is so now decides.
            Err(ServerError::Guard { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(SchedulesError::Contended)
}

fn batch(header: &Header) -> Batch {
    let id = header.id;
    let audit = AuditEntry {
        action: "schedule.delete".to_owned(),
        target_kind: "schedule".to_owned(),
        target_id: id.to_string(),
        detail: json!({ "name": header.name, "revision": header.revision }),
    };
    Batch::new()
        .sql_expecting(store::delete(id, header.revision), 1)
        .sql(store::delete_groups(id))
        .sql(runs::delete_of(id))
        .audit(&audit)
        .signal(ARMED_SIGNAL)
}
