//! Brings every open deployment forward. Level-triggered: it reads what is stored, decides, writes against the generation it
//! has read, and may run at any time, twice, or on two replicas.

use std::time::Duration;

use fleetwright_operations::signals::{self, EVER, of_set};
use fleetwright_operations::store::open_after;
use fleetwright_operations::{Kind, OperationError, read};
use fleetwright_plugin_api::sdk::{Server, ServerError};
use uuid::Uuid;

use crate::actions::advance;
use crate::decide::Decision;
use crate::row::{LoadedDeployment, RollingKind};

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

/// One pass over the open deployments.
pub async fn pass(server: &Server) -> Result<Passed, ServerError> {
    let mut passed = Passed {
        watched: vec![RollingKind::NAMES.signal.to_owned()],
        ..Passed::default()
    };
    let mut after = Uuid::nil();
    loop {
        let headers = open_after::<RollingKind>(server.db(), after, PAGE).await?;
        let Some(last) = headers.last() else {
            return Ok(passed);
        };
        after = last.id;
        for loaded in read::with_sets(server, headers).await? {
            let id = loaded.header.id;
            if let Err(error) = bring_forward(server, loaded, &mut passed).await {
                // One that cannot be brought forward must not hold up the others.
                passed.again = true;
                tracing::warn!(error = %error, %id, "a deployment could not be brought forward");
            }
        }
    }
}

/// Takes the steps that can be taken now.
async fn bring_forward(
    server: &Server,
    mut loaded: LoadedDeployment,
    passed: &mut Passed,
) -> Result<(), OperationError> {
    for _step in 0..STEPS_MAX {
        if loaded.header.own.machine.state.is_terminal() {
            return Ok(());
        }
        let now_us = server.now_us();
        let (decision, started) = advance::next(server, &loaded, server.lease_us()).await?;
        let step = match decision {
            Decision::Take(step) => step,
            // It has been answered what it needed to know.
            Decision::GatherStarted => break,
            Decision::Wait { until_us } => {
                watch(&loaded, passed);
                passed.next_at_us = earliest(passed.next_at_us, until_us);
                return Ok(());
            }
        };
        let context = server.own_context();
        let batch = advance::batch_of(server, &context, &loaded, &step, started, now_us).await?;
        match server.db().commit(&context, batch).await {
            Ok(()) => tracing::debug!(id = %loaded.header.id, cause = ?step.cause, "step taken"),
            // Someone else wrote first: what is so now decides. A set that is still being written will be ready soon.
            Err(ServerError::Guard { .. }) => {}
            Err(ServerError::Unavailable(_)) => break,
            Err(error) => return Err(error.into()),
        }
        loaded = match read::operation(server, None, loaded.header.id).await {
            Ok(loaded) => loaded,
            Err(OperationError::NotFound) => return Ok(()),
            Err(error) => return Err(error),
        };
    }
    watch(&loaded, passed);
    passed.again = true;
    Ok(())
}

fn watch(loaded: &LoadedDeployment, passed: &mut Passed) {
    let room = WATCHED_MAX.saturating_sub(passed.watched.len());
    let signals = loaded.header.set_ids().map(of_set);
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
        let left_us = at_us.saturating_sub(server.lease_us()).max(0);
        Duration::from_micros(left_us.unsigned_abs())
    });
    let pause = if passed.again { RETRY } else { due.min(PERIOD) };
    signals::wake(server, &passed.watched, since, pause).await
}
