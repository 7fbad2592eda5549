//! A batch from its first released host to its end: dispatched, released piece by piece, waited for, finished.

use fleetwright_operations::decide::outcome;

use super::deployment::{Batch, Deployment};
use super::policy::{Policy, batch_size};
use super::snapshot::Snapshot;
use super::state::{Event, InvalidTransition, State};
use super::step::{Cause, Decision, Effect, SetChange, Step, Target, take};
use super::tally::Counts;
use super::timer::Timer;

/// Hosts released in one transaction: the core holds its writer for some 10 ms for them.
pub const RELEASE_MAX: u64 = 500;

/// The next batch begins, with as many of its hosts as one transaction may release.
pub(super) fn dispatch(
    snapshot: &Snapshot<'_>,
    lease_us: i64,
) -> Result<Decision, InvalidTransition> {
    let Snapshot {
        policy,
        deployment,
        counts,
        ..
    } = *snapshot;
    let number = deployment.batch.number + 1;
    let start = policy.partition.end(deployment.batch.number);
    let mut after = deployment.clone();
    if let State::Queued { .. } = after.state {
        after.state = after.state.next(Event::FirstBatchDispatched)?;
    }
    after.batch = Batch {
        number,
        released: start,
        before: counts.tally(),
        ..Batch::default()
    };
    let mut effects = vec![Effect::Dispatched {
        batch: number,
        size: batch_size(policy, number),
    }];
    effects.extend(release_next(policy, &mut after, &counts, lease_us));
    Ok(take(Step {
        deployment: after,
        cause: Cause::BatchDispatched { batch: number },
        effects,
    }))
}

pub(super) fn release(snapshot: &Snapshot<'_>, lease_us: i64) -> Decision {
    let Snapshot {
        policy,
        deployment,
        counts,
        ..
    } = *snapshot;
    let mut after = deployment.clone();
    let effects = release_next(policy, &mut after, &counts, lease_us);
    take(Step {
        cause: Cause::HostsReleased {
            batch: after.batch.number,
        },
        deployment: after,
        effects: effects.into_iter().collect(),
    })
}

/// Moves `released` on. With the last host of the batch the wait for them begins.
fn release_next(
    policy: &Policy,
    after: &mut Deployment,
    counts: &Counts,
    lease_us: i64,
) -> Option<Effect> {
    let batch = &mut after.batch;
    let end = policy.partition.end(batch.number);
    let (from, to) = (batch.released, end.min(batch.released + RELEASE_MAX));
    batch.released = to;
    if to == end {
        batch.wait = Timer::started(lease_us, policy.host_wait_us);
    }
    // A finished set has nothing to release, and takes no more orders.
    let change = SetChange::Release { from, to };
    (!counts.is_finished()).then_some(Effect::Set(Target::Deployment, change))
}

/// Hosts of the batch are still open: those that did not start in time are given up.
pub(super) fn give_up(snapshot: &Snapshot<'_>, lease_us: i64) -> Decision {
    let Snapshot {
        deployment, counts, ..
    } = *snapshot;
    let batch = &deployment.batch;
    if counts.queued == 0 || counts.given_up_below >= batch.released {
        return Decision::Wait { until_us: None };
    }
    match batch.wait.due_at_us() {
        Some(due_us) if lease_us >= due_us => {
            let change = SetChange::GiveUp {
                below: batch.released,
            };
            take(Step {
                deployment: deployment.clone(),
                cause: Cause::HostsGivenUp {
                    batch: batch.number,
                },
                effects: vec![Effect::Set(Target::Deployment, change)],
            })
        }
        until_us => Decision::Wait { until_us },
    }
}

pub(super) fn finish_batch(
    snapshot: &Snapshot<'_>,
    lease_us: i64,
) -> Result<Decision, InvalidTransition> {
    let Snapshot {
        policy,
        deployment,
        counts,
        ..
    } = *snapshot;
    let mut after = deployment.clone();
    let number = after.batch.number;
    let effects = close_batch(policy, &mut after, &counts);
    if number < policy.partition.count() {
        after.batch.delay = Timer::started(lease_us, policy.batch_delay_us);
        return Ok(take(Step {
            deployment: after,
            cause: Cause::BatchFinished { batch: number },
            effects,
        }));
    }
    let (succeeded, total) = (counts.succeeded, policy.total);
    after.state = after.state.next(Event::Finish(outcome(total, succeeded)))?;
    Ok(take(Step {
        deployment: after,
        cause: Cause::AllHostsFinished { succeeded, total },
        effects,
    }))
}

/// Notes the end of the current batch, if it has one that is not noted.
pub(super) fn close_batch(policy: &Policy, after: &mut Deployment, counts: &Counts) -> Vec<Effect> {
    let batch = &mut after.batch;
    batch.wait = Timer::Off;
    if batch.number == 0 || batch.finished {
        return Vec::new();
    }
    batch.finished = true;
    let tally = counts.tally().since(&batch.before);
    let ended = tally.succeeded + tally.failed;
    vec![Effect::Finished {
        batch: batch.number,
        tally,
        skipped: batch_size(policy, batch.number).saturating_sub(ended),
    }]
}
