//! Does without a dependency: it is waited for no more, whatever became of it.

use fleetwright_plugin_api::sdk::{Batch, CallContext, Problem, Reply, Server};
use serde_json::json;
use uuid::Uuid;

use super::super::decide::settle::{Edge, Settling};
use super::super::request::Waiver;
use super::super::store::edges;
use super::{audit, commit, event, reply, settle, visible};
use crate::error::{ATTEMPTS_MAX, PlacementError};

/// Waives it, and gives the job as it is then. One that is settled already changes nothing.
pub async fn waive(
    server: &Server,
    context: &CallContext,
    id: Uuid,
    waiver: &Waiver,
) -> Result<Reply, PlacementError> {
    for _ in 0..ATTEMPTS_MAX {
        let job = visible(server, context, id).await?;
        let known = edges::one(server.db(), id, waiver.dependency).await?;
        let Some(known) = known else {
            let detail = "The job does not wait for that one.";
            return Err(
                Problem::invalid_field("/dependency", "job-dependency-unknown", detail).into(),
            );
        };
        if known.settled {
            return reply(200, &job);
        }
        if job.stage.is_final() {
            let detail = format!("The job is {}: it waits for nothing.", job.stage.as_str());
            return Err(Problem::invalid_transition(detail).into());
        }
        let edge = Edge {
            job_id: id,
            dependency_id: waiver.dependency,
        };
        let mut settling = Settling::default();
        if settling.settle(edge, &job, server.now_us()) {
            settle::follow(server, &mut settling, id).await?;
        }
        let after = match settling.changes.get(&id) {
            Some((_, after)) => after.clone(),
            None => return Err(PlacementError::NotFound("job")),
        };
        let data = json!({"dependency": waiver.dependency, "reason": waiver.reason});
        let told = event("waived", context.principal.as_str(), data.clone());
        let reply = reply(200, &after)?;
        let batch = settle::write(Batch::new(), &settling, Some((id, &told)))
            .audit(&audit("job.waive", &job, &after, data))
            .respond(&reply);
        if commit(server, context, batch).await? {
            return Ok(reply);
        }
    }
    Err(PlacementError::Contended)
}
