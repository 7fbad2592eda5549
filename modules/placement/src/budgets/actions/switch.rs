//! Pauses and resumes a budget by hand.

use fleetwright_plugin_api::sdk::{Batch, CallContext, Problem, Reply, ServerError};
use serde_json::json;

use super::super::decide::Budget;
use super::super::money::Usd;
use super::super::store::change;
use super::{Desk, audit};
use crate::error::{ATTEMPTS_MAX, PlacementError};
use crate::jobs::store::change::QUEUED_SIGNAL;

impl Desk {
    /// Until a person resumes it, whatever windows begin meanwhile. One that is paused by hand already stays as it is.
    pub async fn pause(
        &self,
        context: &CallContext,
        product_id: &str,
    ) -> Result<Reply, PlacementError> {
        self.switch(context, product_id, "budget.pause", |before, now_us| {
            Ok(before.paused(&context.principal_name, now_us))
        })
        .await
    }

    /// Whoever paused it. 409 `budget-exhausted` while what was spent reaches the ceiling.
    pub async fn resume(
        &self,
        context: &CallContext,
        product_id: &str,
    ) -> Result<Reply, PlacementError> {
        self.switch(context, product_id, "budget.resume", |before, now_us| {
            before
                .resumed(self.is_enforced, now_us)
                .map_err(|_| exhausted(before))
        })
        .await
    }

    async fn switch(
        &self,
        context: &CallContext,
        product_id: &str,
        action: &str,
        decide: impl Fn(&Budget, i64) -> Result<Option<Budget>, Problem>,
    ) -> Result<Reply, PlacementError> {
        for _ in 0..ATTEMPTS_MAX {
            let before = self.current(product_id).await?;
            let Some(after) = decide(&before, self.server.now_us())? else {
                return Ok(self.reply(200, &before)?);
            };
            let reply = self.reply(200, &after)?;
            let batch = change::pause(Batch::new(), &before, &after, self.is_enforced)
                .audit(&audit(action, &after, json!({})))
                .signal(QUEUED_SIGNAL)
                .respond(&reply);
            match self.server.db().commit(context, batch).await {
                Ok(()) => return Ok(reply),
                Err(ServerError::Guard { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(PlacementError::Contended)
    }
}

fn exhausted(budget: &Budget) -> Problem {
    let (spent, ceiling) = (Usd::of(budget.spent_micros), Usd::of(budget.ceiling_micros));
    Problem::conflict(
        "budget-exhausted",
        format!(
            "Of {ceiling} USD {spent} are spent in this window: raise the ceiling, or wait for the next one."
        ),
    )
}
