//! What an operator does with a job: queue it again, cancel it, give it up, ship it.

use fleetwright_plugin_api::sdk::{Batch, CallContext, Reply, Server};
use serde_json::json;
use uuid::Uuid;

use super::super::decide::settle::Settling;
use super::super::decide::{self, Actor, Event};
use super::super::stage::Stage;
use super::super::store::change;
use super::{audit, commit, event, reply, settle, visible};
use crate::error::{ATTEMPTS_MAX, PlacementError};

/// Does it, and gives the job as it is then. Whoever held it does so no more.
pub async fn operate(
    server: &Server,
    context: &CallContext,
    id: Uuid,
    what: Event,
    reason: Option<String>,
) -> Result<Reply, PlacementError> {
    let action = match what {
        Event::Requeue => "job.requeue",
        Event::Cancel => "job.cancel",
        Event::Reject => "job.reject",
        Event::Ship => "job.ship",
        _ => "job.change",
    };
    for _ in 0..ATTEMPTS_MAX {
        let job = visible(server, context, id).await?;
        let mut after = decide::after(&job, Actor::Operator, what, server.now_us())?;
        after.reason = reason.clone();
        let mut settling = Settling::default();
        if after.stage == Stage::Shipped {
            settle::follow(server, &mut settling, id).await?;
        }
        let data = json!({"reason": reason, "lease_epoch": after.lease_epoch});
        let told = event(what.kind(), context.principal.as_str(), data);
        let batch = change::update(Batch::new(), &job, &after, &told);
        let reply = reply(200, &after)?;
        let batch = settle::write(batch, &settling, None)
            .audit(&audit(action, &job, &after, json!({"reason": reason})))
            .respond(&reply);
        if commit(server, context, batch).await? {
            return Ok(reply);
        }
    }
    Err(PlacementError::Contended)
}
