//! What people and the module's loop do with budgets.

pub mod read;
pub mod save;
pub mod spend;
pub mod switch;

use fleetwright_plugin_api::sdk::{AuditEntry, Batch, Reply, Server, ServerError};
use serde_json::{Value, json};

use super::decide::Budget;
use super::money::Usd;
use super::store::{self, change};
use super::view;
use crate::error::{ATTEMPTS_MAX, PlacementError};
use crate::jobs::store::change::QUEUED_SIGNAL;

/// The server, and whether it enforces budgets.
#[derive(Clone)]
pub struct Desk {
    pub server: Server,
    pub is_enforced: bool,
}

/// A product's budget in the window of now: one that is over is left here, by whoever looks first. None if it has none.
///
/// Whoever reserves asks this before, so that no claim is refused by what was spent in a window that is over.
pub async fn current(
    server: &Server,
    product_id: &str,
    is_enforced: bool,
) -> Result<Option<Budget>, PlacementError> {
    for _ in 0..ATTEMPTS_MAX {
        let Some(budget) = store::budget(server.db(), product_id).await? else {
            return Ok(None);
        };
        if !roll_over(server, &budget, is_enforced).await? {
            return Ok(Some(budget));
        }
    }
    Err(PlacementError::Contended)
}

/// Begins the next window where one is over, and says whether it was: what was read is old then.
pub async fn roll_over(
    server: &Server,
    budget: &Budget,
    is_enforced: bool,
) -> Result<bool, ServerError> {
    let Some(after) = budget.rolled_over(server.now_us(), is_enforced) else {
        return Ok(false);
    };
    let mut batch = change::roll_over(Batch::new(), budget, &after, is_enforced);
    if budget.pause.is_some() && after.pause.is_none() {
        batch = batch
            .audit(&audit("budget.resume", &after, json!({"by": "rollover"})))
            .signal(QUEUED_SIGNAL);
    }
    let committed = server.db().commit(&server.own_context(), batch).await;
    match committed {
        // Somebody else was faster.
        Ok(()) | Err(ServerError::Guard { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

impl Desk {
    async fn current(&self, product_id: &str) -> Result<Budget, PlacementError> {
        let found = current(&self.server, product_id, self.is_enforced).await?;
        found.ok_or(PlacementError::NotFound("budget"))
    }

    /// The budget as clients see it now, with its tag.
    fn reply(&self, status: u16, budget: &Budget) -> Result<Reply, ServerError> {
        let shown = view::budget(budget, self.server.now_us(), self.is_enforced);
        let tag = format!("\"{}\"", budget.revision);
        Ok(Reply::json(status, &shown)?.with_header("etag", tag))
    }
}

fn audit(action: &str, budget: &Budget, more: Value) -> AuditEntry {
    let mut detail = json!({
        "ceiling_usd": Usd::of(budget.ceiling_micros),
        "window": budget.period.as_str(),
    });
    if let (Some(detail), Value::Object(more)) = (detail.as_object_mut(), more) {
        detail.extend(more);
    }
    AuditEntry {
        action: action.to_owned(),
        target_kind: "budget".to_owned(),
        target_id: budget.product_id.clone(),
        detail,
    }
}
