//! The module's loops: record what is due, launch what is recorded, follow what is launched, drop what is old. Each is
//! level-triggered: it looks at the database, sleeps until something is to be done or a signal says so, and misses nothing if
//! it is stopped anywhere.

use std::time::Duration;

use fleetwright_operations::signals::{EVER, of_set, wake};
use fleetwright_plugin_api::sdk::{Batch, Server, ServerError};
use fleetwright_protocol::SetId;

use crate::actions::launch::{Launched, launch_waiting};
use crate::actions::{ARMED_SIGNAL, LAUNCHED_SIGNAL, RUNS_SIGNAL, fire, follow};
use crate::decide::Kind;
use crate::store::runs;

/// A clock may be set, and another server may have changed something: an idle loop looks twice a minute.
const IDLE: Duration = Duration::from_secs(30);
/// Before something is tried again that needs what is away, or that failed.
const AGAIN: Duration = Duration::from_secs(1);
/// How late a status may be that no signal announced.
const FOLLOW: Duration = Duration::from_secs(5);
/// Signals of a busy operation come ten times a second; its status changes a few times in its life.
const REST: Duration = Duration::from_millis(250);
/// Operations whose signals are waited for; those beyond them are followed by the timer.
const WATCHED_MAX: usize = 256;
const PRUNE: Duration = Duration::from_secs(3_600);
/// As long as operations are kept.
const KEPT_US: i64 = 90 * 24 * 3_600 * 1_000_000;
/// Rows of one commit.
const PRUNE_PAGE: u32 = 1_000;

/// Records fires until the module is stopped.
pub async fn record_fires(server: Server) {
    let mut generation = EVER;
    loop {
        let pause = match fire::fire_due(&server).await {
            Ok(earliest_us) => until(server.now_us(), earliest_us),
            Err(error) => {
                tracing::warn!(%error, "due schedules could not be recorded");
                AGAIN
            }
        };
        generation = wake(&server, &[ARMED_SIGNAL.to_owned()], generation, pause).await;
    }
}

/// Launches recorded runs until the module is stopped.
pub async fn launch_runs(server: Server) {
    let mut generation = EVER;
    loop {
        let pause = match launch_waiting(&server).await {
            Ok(Launched::Progress) => continue,
            Ok(Launched::Idle) => IDLE,
            Ok(Launched::Waiting) => AGAIN,
            Err(error) => {
                tracing::warn!(%error, "runs could not be launched");
                AGAIN
            }
        };
        generation = wake(&server, &[RUNS_SIGNAL.to_owned()], generation, pause).await;
    }
}

/// Follows launched operations until the module is stopped.
pub async fn follow_operations(server: Server) {
    let mut generation = EVER;
    loop {
        let (watched, pages) = match follow::follow_all(&server, WATCHED_MAX).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "launched operations could not be followed");
                (Vec::new(), 1)
            }
        };
        let pause = if pages == 0 { IDLE } else { FOLLOW };
        let mut keys = vec![LAUNCHED_SIGNAL.to_owned()];
        keys.extend(watched.iter().map(|run| match run.kind {
            // A bulk operation is one set of the same id.
            Kind::Bulk => of_set(SetId(run.id)),
            // Of all deployments: theirs are several sets each.
            Kind::Rolling => "rolling:deployments".to_owned(),
        }));
        generation = wake(&server, &keys, generation, pause).await;
        server
            .sleep(REST.saturating_mul(pages.max(1)).min(FOLLOW))
            .await;
    }
}

/// Drops old runs, now and every hour.
pub async fn prune_runs(server: Server) {
    loop {
        if let Err(error) = prune_once(&server).await {
            tracing::warn!(%error, "old runs could not be dropped");
        }
        server.sleep(PRUNE).await;
    }
}

/// One pass over all runs old enough: schedules of every minute make more of them in an hour than one commit drops.
pub async fn prune_once(server: &Server) -> Result<(), ServerError> {
    let before_us = server.earlier_us().saturating_sub(KEPT_US);
    loop {
        let old = runs::old(server.db(), before_us, PRUNE_PAGE).await?;
        if old.is_empty() {
            return Ok(());
        }
        let batch = Batch::new().sql(runs::delete(&old));
        server.db().commit(&server.own_context(), batch).await?;
    }
}

fn until(now_us: i64, earliest_us: Option<i64>) -> Duration {
    let left_us = earliest_us.map_or(i64::MAX, |due_us| due_us.saturating_sub(now_us));
    Duration::from_micros(u64::try_from(left_us).unwrap_or(0)).min(IDLE)
}
