//! Sets a budget: adds it, or changes its ceiling and its window.

use fleetwright_plugin_api::sdk::{Batch, CallContext, IfMatch, Problem, Reply, ServerError};
use serde_json::json;

use super::super::calendar::day_of;
use super::super::decide::{Budget, Pause, PausedBy};
use super::super::money::{self, Usd};
use super::super::request::Settled;
use super::super::store::{self, change};
use super::{Desk, audit, current};
use crate::error::{ATTEMPTS_MAX, PlacementError};
use crate::jobs::store::change::QUEUED_SIGNAL;

impl Desk {
    /// 201 for a new one, 200 for one that was there.
    pub async fn set(
        &self,
        context: &CallContext,
        product_id: &str,
        seen: &IfMatch,
        settled: &Settled,
    ) -> Result<Reply, PlacementError> {
        for _ in 0..ATTEMPTS_MAX {
            let before = current(&self.server, product_id, self.is_enforced).await?;
            let (batch, after, status) = match &before {
                None if *seen != IfMatch::ANY => {
                    return Err(Problem::precondition_failed().into());
                }
                None => {
                    let fresh = self.fresh(product_id, settled);
                    (change::insert(Batch::new(), &fresh), fresh, 201)
                }
                Some(before) if !seen.matches(before.revision) => {
                    return Err(Problem::precondition_failed().into());
                }
                Some(before) => {
                    let after = self.changed(before, settled).await?;
                    let batch = change::set(Batch::new(), before, &after, self.is_enforced);
                    (batch, after, 200)
                }
            };
            let reply = self.reply(status, &after)?;
            let was = before.map(|before| Usd::of(before.ceiling_micros));
            let batch = batch
                .audit(&audit(
                    "budget.set",
                    &after,
                    json!({"ceiling_usd_before": was}),
                ))
                .signal(QUEUED_SIGNAL)
                .respond(&reply);
            match self.server.db().commit(context, batch).await {
                Ok(()) => return Ok(reply),
                // Changed, or added, by somebody else.
                Err(ServerError::Guard { .. } | ServerError::Constraint { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(PlacementError::Contended)
    }

    fn fresh(&self, product_id: &str, settled: &Settled) -> Budget {
        let now_us = self.server.now_us();
        let is_closed = self.is_enforced && settled.ceiling_micros == 0;
        Budget {
            product_id: product_id.to_owned(),
            ceiling_micros: settled.ceiling_micros,
            period: settled.period,
            window: settled.period.window(now_us, now_us),
            spent_micros: 0,
            reserved_micros: 0,
            pause: is_closed.then_some(Pause {
                by: PausedBy::Ceiling,
                at_us: now_us,
                by_name: None,
            }),
            created_at_us: now_us,
            updated_at_us: now_us,
            revision: 1,
        }
    }

    async fn changed(&self, before: &Budget, settled: &Settled) -> Result<Budget, PlacementError> {
        let now_us = self.server.now_us();
        let spent_micros = if settled.period == before.period {
            before.spent_micros
        } else {
            let window = settled.period.window(now_us, before.created_at_us);
            let first = day_of(window.starts_at_us);
            let spent = store::spent_since(self.server.db(), &before.product_id, first).await?;
            spent.ok_or_else(|| {
                let detail = "what was spent in that window is more than can be counted";
                Problem::invalid_field("/window", money::CODE, detail)
            })?
        };
        Ok(before.set_to(
            settled.ceiling_micros,
            settled.period,
            spent_micros,
            self.is_enforced,
            now_us,
        ))
    }
}
