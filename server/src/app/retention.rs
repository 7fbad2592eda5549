//! Deletes what has been kept long enough, in small batches so that no other write waits long behind it.

use std::time::Duration;

use super::App;
use crate::clock::Now;
use crate::db::DbError;
use crate::loops::Loop;
use crate::{audit, auth, commands, http};

/// Between batches, so that a large backlog does not become the server's main work.
const BATCH_PAUSE: Duration = Duration::from_millis(50);
const DAY_US: i64 = 24 * 3_600 * 1_000_000;

/// Runs for ever.
pub async fn run(app: &App) {
    let place = app.loops.take(Loop::Retention);
    place
        .every(|| async {
            if let Err(error) = sweep(app).await {
                tracing::warn!(%error, "old rows could not be deleted; again in a while");
            }
        })
        .await;
}

/// Deletes everything that is due.
pub async fn sweep(app: &App) -> Result<(), DbError> {
    let now = app.clock.now();
    // A wall clock that was set wrong must not cost what is to be kept.
    let now_us = now.earlier_us();
    let retention = &app.config.retention;
    let before = |us: i64, days: u32| us.saturating_sub(i64::from(days).saturating_mul(DAY_US));
    let audit_before_us = before(now_us, retention.audit_days);
    let commands_before = Now {
        wall_us: before(now_us, retention.commands_days),
        lease_us: before(now.lease_us, retention.commands_days),
    };
    while http::idempotency::sweep(&app.db, now.lease_us).await? {
        tokio::time::sleep(BATCH_PAUSE).await;
    }
    while auth::sweep(&app.db, now_us).await? {
        tokio::time::sleep(BATCH_PAUSE).await;
    }
    while commands::retention::sweep(&app.commands, commands_before).await? {
        tokio::time::sleep(BATCH_PAUSE).await;
    }
    commands::retention::sweep_spool(&app.commands).await?;
    while audit::sweep(&app.db, audit_before_us).await? {
        tokio::time::sleep(BATCH_PAUSE).await;
    }
    Ok(())
}
