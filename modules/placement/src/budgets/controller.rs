//! The loop of budgets: begins a window when the one before it is over, so that what waits for it is claimed. It is only
//! sooner than whoever touches the budget next.

use std::time::Duration;

use fleetwright_plugin_api::sdk::{Batch, Server, ServerError};

use super::actions::roll_over;
use super::store::{self, change};

/// A clock may be set, and a budget with a nearer end may be added.
const IDLE: Duration = Duration::from_secs(30);
/// Budgets of one pass.
const PAGE: u32 = 200;

/// Keeps windows until the module is stopped.
pub async fn keep_windows(server: Server, is_enforced: bool) {
    if is_enforced && let Err(error) = close_open(&server).await {
        tracing::warn!(%error, "budgets that reached their ceilings could not be paused");
    }
    loop {
        let pause = match roll_over_lapsed(&server, is_enforced).await {
            Ok(end_us) => until(server.now_us(), end_us),
            Err(error) => {
                tracing::warn!(%error, "windows of budgets could not be begun");
                IDLE
            }
        };
        server.sleep(pause).await;
    }
}

/// Begins every window that is due, and says when the next one is.
pub async fn roll_over_lapsed(
    server: &Server,
    is_enforced: bool,
) -> Result<Option<i64>, ServerError> {
    loop {
        let lapsed = store::lapsed(server.db(), server.now_us(), PAGE).await?;
        if lapsed.is_empty() {
            return store::next_end_us(server.db()).await;
        }
        for budget in lapsed {
            roll_over(server, &budget, is_enforced).await?;
        }
    }
}

/// Pauses what reached its ceiling while nothing was enforced.
async fn close_open(server: &Server) -> Result<(), ServerError> {
    if !store::is_any_open_at_its_ceiling(server.db()).await? {
        return Ok(());
    }
    let batch = change::close_all(Batch::new(), server.now_us());
    server.db().commit(&server.own_context(), batch).await
}

fn until(now_us: i64, end_us: Option<i64>) -> Duration {
    let left_us = end_us.map_or(i64::MAX, |end_us| end_us.saturating_sub(now_us));
    // Not before the end, and never without a rest.
    let left = Duration::from_micros(u64::try_from(left_us).unwrap_or(0));
    left.clamp(Duration::from_millis(10), IDLE)
}
