//! Brings every open deployment forward. Level-triggered: it reads what is stored, decides, writes against the generation it
//! has read, and may run at any time, twice, or on two replicas. Also drops deployments whose sets were swept away.

use std::time::Duration;

use fleetwright_plugin_api::sdk::{Batch, Server, ServerError};
use futures_util::future::{Either, select};
use uuid::Uuid;

use crate::actions::read::{self, Standing};
use crate::actions::{DEPLOYMENTS_SIGNAL, EVER, RollingError, advance, set_signal};
use crate::decide::Decision;
use crate::store;

/// Deployments looked at in one read: rows of at most 8 KiB are within its 4 MiB.
const PAGE: u32 = 500;
/// Steps of one deployment before others have their turn: a batch of 10,000 hosts is released in 20.
const STEPS_MAX: usize = 32;
/// Sets whose signals are waited for; deployments beyond them are brought forward by the timer.
const WATCHED_MAX: usize = 256;
/// How late a step may be that no signal announced.
const PERIOD: Duration = Duration::from_secs(2);
/// Signals of a busy set come ten times a second.
const REST: Duration = Duration::from_millis(50);
/// The core writes the rows of 100,000 hosts in about two seconds; a batch may wait for its own.
const RETRY: Duration = Duration::from_millis(100);
const PRUNE_PERIOD: Duration = Duration::from_secs(3600);
/// A deployment and its set are created together; this is only not to race with a commit.
const PRUNE_AGE_US: i64 = 3_600 * 1_000_000;

/// What a pass over the open deployments found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// The signals that may bring one forward.
    pub watched: Vec<String>,
    /// When one is to be brought forward without a signal, µs.
    pub next_at_us: Option<i64>,
    /// Some could not be brought as far as they may go.
    pub again: bool,
}

/// Brings deployments forward until the module is stopped.
pub async fn advance_deployments(server: Server) {
    let mut generation = EVER;
    loop {
        let passed = match pass(&server).await {
            Ok(passed) => passed,
            Err(error) => {
                tracing::warn!(error = %error, "deployments could not be brought forward");
                Passed::default()
            }
        };
        generation = wake(&server, &passed, generation).await;
        server.sleep(REST).await;
    }
}

/// Drops deployments whose sets are gone, now and every hour.
pub async fn prune_deployments(server: Server) {
    loop {
        if let Err(error) = prune_once(&server).await {
            tracing::warn!(error = %error, "deployments could not be pruned");
        }
        server.sleep(PRUNE_PERIOD).await;
    }
}

/// One pass over the open deployments.
pub async fn pass(server: &Server) -> Result<Passed, ServerError> {
    let mut passed = Passed {
        watched: vec![DEPLOYMENTS_SIGNAL.to_owned()],
        ..Passed::default()
    };
    let mut after = Uuid::nil();
    loop {
        let headers = store::open_after(server.db(), after, PAGE).await?;
        let Some(last) = headers.last() else {
            return Ok(passed);
        };
        after = last.id;
        for standing in read::standings(server, headers).await? {
            let id = standing.header.id;
            if let Err(error) = bring_forward(server, standing, &mut passed).await {
                // One that cannot be brought forward must not hold up the others.
                passed.again = true;
                tracing::warn!(error = %error, %id, "a deployment could not be brought forward");
            }
        }
    }
}

/// One pass over all deployments old enough.
pub async fn prune_once(server: &Server) -> Result<(), ServerError> {
    let before_us = server.now_us().saturating_sub(PRUNE_AGE_US);
    let mut after = Uuid::nil();
    loop {
        let ids = store::ids_created_before(server.db(), before_us, after, PAGE).await?;
        let Some((last, _)) = ids.last() else {
            return Ok(());
        };
        after = *last;
        let set_ids: Vec<_> = ids.iter().map(|(_, set_id)| *set_id).collect();
        let sets = server.sets().get(&set_ids).await?;
        let kept: std::collections::HashSet<_> = sets.iter().map(|set| set.id).collect();
        for (id, _) in ids.iter().filter(|(_, set_id)| !kept.contains(set_id)) {
            let batch = store::delete(*id)
                .into_iter()
                .fold(Batch::new(), Batch::sql);
            server.db().commit(&server.own_context(), batch).await?;
        }
    }
}

/// Takes the steps that can be taken now.
async fn bring_forward(
    server: &Server,
    mut standing: Standing,
    passed: &mut Passed,
) -> Result<(), RollingError> {
    for _step in 0..STEPS_MAX {
        if standing.header.machine.state.is_terminal() {
            return Ok(());
        }
        let now_us = server.now_us();
        let (decision, started) = advance::next(server, &standing, now_us).await?;
        let step = match decision {
            Decision::Take(step) => step,
            // It has been answered what it needed to know.
            Decision::GatherStarted => break,
            Decision::Wait { until_us } => {
                watch(&standing, passed);
                passed.next_at_us = earliest(passed.next_at_us, until_us);
                return Ok(());
            }
        };
        let context = server.own_context();
        let batch = advance::batch_of(server, &context, &standing, &step, started, now_us).await?;
        match server.db().commit(&context, batch).await {
            Ok(()) => tracing::debug!(id = %standing.header.id, cause = ?step.cause, "step taken"),
            // Someone else wrote first: what is so now decides. A set that is still being written will be ready soon.
            Err(ServerError::Guard { .. }) => {}
            Err(ServerError::Unavailable(_)) => break,
            Err(error) => return Err(error.into()),
        }
        standing = match read::deployment(server, None, standing.header.id).await {
            Ok(standing) => standing,
            Err(RollingError::NotFound) => return Ok(()),
            Err(error) => return Err(error),
        };
    }
    watch(&standing, passed);
    passed.again = true;
    Ok(())
}

fn watch(standing: &Standing, passed: &mut Passed) {
    let sets = [
        Some(standing.header.set_id),
        standing.header.rollback_set_id,
    ];
    let room = WATCHED_MAX.saturating_sub(passed.watched.len());
    let signals = sets.into_iter().flatten().map(set_signal);
    passed.watched.extend(signals.take(room));
}

fn earliest(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Waits for a signal, for the next time something is due, or for the timer.
async fn wake(server: &Server, passed: &Passed, since: u64) -> u64 {
    let due = passed.next_at_us.map_or(PERIOD, |at_us| {
        let left_us = at_us.saturating_sub(server.now_us()).max(0);
        Duration::from_micros(left_us.unsigned_abs())
    });
    let pause = if passed.again { RETRY } else { due.min(PERIOD) };
    let signal = std::pin::pin!(server.signals().wait(&passed.watched, since));
    let timer = std::pin::pin!(server.sleep(pause));
    match select(signal, timer).await {
        Either::Left((generation, _)) => generation,
        Either::Right(((), _)) => since,
    }
}
