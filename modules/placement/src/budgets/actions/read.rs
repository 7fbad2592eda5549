//! Reads budgets and what was spent on which day.

use super::super::decide::Budget;
use super::super::store::{self, Day, Filter};
use super::{Desk, roll_over};
use crate::error::PlacementError;

/// Windows that are left before a list is read; the loop leaves the others.
const LAPSED_MAX: u32 = 100;

impl Desk {
    /// One budget, in the window of now.
    pub async fn budget(&self, product_id: &str) -> Result<Budget, PlacementError> {
        self.current(product_id).await
    }

    /// One more than `limit`, if there are more. Those whose window is over are shown in the new one.
    pub async fn budgets(
        &self,
        filter: &Filter,
        limit: u32,
    ) -> Result<Vec<Budget>, PlacementError> {
        let (db, now_us) = (self.server.db(), self.server.now_us());
        for lapsed in store::lapsed(db, now_us, LAPSED_MAX).await? {
            roll_over(&self.server, &lapsed, self.is_enforced).await?;
        }
        let mut found = store::list(db, filter, limit.saturating_add(1)).await?;
        for budget in &mut found {
            if let Some(rolled) = budget.rolled_over(now_us, self.is_enforced) {
                *budget = rolled;
            }
        }
        Ok(found)
    }

    /// Days on which something was spent, newest first; one more than `limit`, if there are more.
    pub async fn history(
        &self,
        product_id: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Day>, PlacementError> {
        let db = self.server.db();
        let budget = store::budget(db, product_id).await?;
        budget.ok_or(PlacementError::NotFound("budget"))?;
        Ok(store::days(db, product_id, before, limit.saturating_add(1)).await?)
    }
}
