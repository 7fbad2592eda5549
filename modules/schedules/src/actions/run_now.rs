//! Runs a schedule now, as the person who asks. It is a fire like another, with the present as its nominal time.

use fleetwright_plugin_api::sdk::{AuditEntry, Batch, CallContext, Reply, Server, ServerError};
use serde_json::json;
use uuid::Uuid;

use super::{RUNS_SIGNAL, SchedulesError, follow};
use crate::decide::{Cause, OverlapPolicy, operation_id};
use crate::store::runs::{self, Phase, Run};
use crate::store::{self, Header};
use crate::view;

/// A nominal time that is taken is the one of another request in the same microsecond.
const ATTEMPTS_MAX: i64 = 10;

/// Records the run; it is launched as every other.
pub async fn run_now(
    server: &Server,
    context: &CallContext,
    id: Uuid,
) -> Result<Reply, SchedulesError> {
    let header = store::header(server.db(), id).await?;
    let header = header.ok_or(SchedulesError::NotFound)?;
    if header.overlap == OverlapPolicy::Forbid && !follow::open_of(server, &[id]).await?.is_empty()
    {
        return Err(SchedulesError::Overlap);
    }
    let now_us = server.now_us();
    for attempt in 0..ATTEMPTS_MAX {
        let run = new_run(&header, context, now_us, now_us + attempt);
        let reply = Reply::json(202, &view::run(&run))?
            .with_header("location", format!("/api/v1/fleet/schedules/{id}/runs"));
        let audit = AuditEntry {
            action: "schedule.run".to_owned(),
            target_kind: "schedule".to_owned(),
            target_id: id.to_string(),
            detail: json!({ "name": header.name, "operation_id": run.id }),
        };
        let batch = Batch::new()
            .sql_expecting(runs::insert(&run), 1)
            .audit(&audit)
            .signal(RUNS_SIGNAL)
            .respond(&reply);
        match server.db().commit(context, batch).await {
            Ok(()) => return Ok(reply),
            Err(ServerError::Constraint { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(SchedulesError::Contended)
}

fn new_run(header: &Header, context: &CallContext, now_us: i64, nominal_us: i64) -> Run {
    Run {
        id: operation_id(header.id, nominal_us),
        schedule_id: header.id,
        nominal_us,
        cause: Cause::Manual,
        kind: header.kind,
        principal: context.principal.clone(),
        revision: Some(header.revision),
        recorded_at_us: now_us,
        launched_at_us: None,
        finished_at_us: None,
        phase: Phase::Pending,
        status: Phase::Pending.as_str().to_owned(),
        reason: None,
    }
}
