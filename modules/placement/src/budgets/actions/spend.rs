//! Records what was spent, once for each key.

use fleetwright_plugin_api::sdk::{Batch, CallContext, Problem, Reply, ServerError};
use serde_json::json;

use super::super::decide::{Budget, Overflow};
use super::super::money::{self, Usd};
use super::super::request::Spent;
use super::super::store::{self, Spending, change};
use super::super::view;
use super::{Desk, audit};
use crate::error::{ATTEMPTS_MAX, PlacementError};

impl Desk {
    /// Counts it, unless its key was counted before. The truth is recorded, also beyond the ceiling and from a lease that is
    /// over. A key that stands for something else is 422 `idempotency-mismatch`.
    pub async fn spend(
        &self,
        context: &CallContext,
        product_id: &str,
        spent: &Spent,
    ) -> Result<Reply, PlacementError> {
        let is_new = self.count(context, product_id, spent).await?;
        let budget = self.current(product_id).await?;
        let found = store::spending(self.server.db(), product_id, &spent.key).await?;
        let spending = found.ok_or(PlacementError::Contended)?;
        let shown = view::budget(&budget, self.server.now_us(), self.is_enforced);
        let reply = Reply::json(200, &view::spending(&spending, is_new, shown))?;
        if context.idempotency != 0 {
            // What the sums are is known only now. A server killed before this counts nothing twice: the key is known.
            let batch = Batch::new().respond(&reply);
            self.server.db().commit(context, batch).await?;
        }
        Ok(reply)
    }

    /// Whether it was new.
    async fn count(
        &self,
        context: &CallContext,
        product_id: &str,
        spent: &Spent,
    ) -> Result<bool, PlacementError> {
        for _ in 0..ATTEMPTS_MAX {
            let budget = self.current(product_id).await?;
            let known = store::spending(self.server.db(), product_id, &spent.key).await?;
            if let Some(known) = known {
                let job_id = |job: Option<(uuid::Uuid, i64)>| job.map(|(id, _)| id);
                let is_same = known.amount_micros == spent.amount_micros
                    && job_id(known.job) == job_id(spent.job);
                return if is_same {
                    Ok(false)
                } else {
                    Err(mismatch(&known).into())
                };
            }
            let now_us = self.server.now_us();
            if budget.rolled_over(now_us, self.is_enforced).is_some() {
                // Its window has ended since it was read.
                continue;
            }
            let batch = self.batch(&budget, spent, now_us)?;
            match self.server.db().commit(context, batch).await {
                Ok(()) => return Ok(true),
                // A new window, or the same key at the same time.
                Err(ServerError::Guard { .. } | ServerError::Constraint { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(PlacementError::Contended)
    }

    fn batch(&self, budget: &Budget, spent: &Spent, now_us: i64) -> Result<Batch, Problem> {
        let spending = Spending {
            product_id: budget.product_id.clone(),
            key: spent.key.clone(),
            amount_micros: spent.amount_micros,
            job: spent.job,
            // Known when it is written.
            consumed_micros: 0,
            recorded_at_us: now_us,
        };
        budget
            .accrued(spent.amount_micros, 0, self.is_enforced, now_us)
            .map_err(|Overflow| {
                Problem::invalid_field("/amount_usd", money::CODE, Overflow.to_string())
            })?;
        let facts = json!({
            "amount_usd": Usd::of(spent.amount_micros),
            "key": spent.key,
            "job_id": spent.job.map(|(id, _)| id),
        });
        let batch = change::spend(Batch::new(), budget, &spending, self.is_enforced);
        Ok(batch.audit(&audit("budget.spend", budget, facts)))
    }
}

fn mismatch(known: &Spending) -> Problem {
    let amount = Usd::of(known.amount_micros);
    Problem::unprocessable(
        "idempotency-mismatch",
        format!("Under this key {amount} USD were recorded already, or for another job."),
    )
}
