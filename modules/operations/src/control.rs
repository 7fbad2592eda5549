//! Pauses, resumes, cancels and whatever else a kind can be told. Each decides on the operation as read and writes against
//! that; if someone else wrote in between, it decides again.

use std::time::Duration;

use fleetwright_plugin_api::sdk::{IfMatch, Server, ServerError};
use fleetwright_plugin_api::wire::CallContext;
use uuid::Uuid;

use crate::create::audit_entry;
use crate::error::OperationError;
use crate::kind::{Kind, Loaded};
use crate::read;

/// How often, and how long, a control of single hosts waits for their rows: 100,000 are written in about two seconds, so ten
/// are enough on a busy machine and well within the deadline of a request.
const ROWS_PAUSE: Duration = Duration::from_millis(200);
const ROWS_LOOKS_MAX: usize = 50;

/// Applies a control and gives the operation as it is then.
pub async fn control<K: Kind>(
    server: &Server,
    context: &CallContext,
    id: Uuid,
    seen: IfMatch,
    asked: &K::Control,
) -> Result<Loaded<K>, OperationError> {
    let tenant = context.tenant.as_deref();
    let (name, facts) = K::audited(asked);
    let audit = audit_entry::<K>(id, name, facts);
    let (mut attempts, mut looks) = (0, 0);
    loop {
        let loaded = read::operation::<K>(server, tenant, id).await?;
        if !seen.matches(loaded.revision()) {
            return Err(OperationError::Stale);
        }
        let Some(batch) = K::decide(server, context, &loaded, asked).await? else {
            return Ok(loaded);
        };
        match server.db().commit(context, batch.audit(&audit)).await {
            Ok(()) => return read::operation(server, tenant, id).await,
            // Someone else was faster, or the last host finished: what is so now decides.
            Err(
                ServerError::Guard { .. }
                | ServerError::Constraint { .. }
                | ServerError::NotFound(_),
            ) => {
                attempts += 1;
                if attempts == K::CONTROL_ATTEMPTS_MAX {
                    return Err(OperationError::Contended);
                }
            }
            Err(ServerError::Unavailable(_)) if K::needs_rows(asked) && looks < ROWS_LOOKS_MAX => {
                looks += 1;
                server.sleep(ROWS_PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
