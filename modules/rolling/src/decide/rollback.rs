//! What a rollback does next: the hosts that had started, batch after batch from the last to the first, each batch when
//! the one before is terminal. No delays, no thresholds; only the wait for hosts that do not start.

use super::batch::{RELEASE_MAX, close_batch};
use super::control::unless_finished;
use super::deployment::Rollback;
use super::snapshot::Snapshot;
use super::state::{Event, InvalidTransition};
use super::step::{Cause, Decision, Effect, SetChange, Step, Target, take};
use super::tally::Counts;
use super::timer::Timer;

/// The deployment halted and drained, and `hosts` of it had started.
pub(super) fn begin(snapshot: &Snapshot<'_>, hosts: u64) -> Result<Decision, InvalidTransition> {
    let mut after = snapshot.deployment.clone();
    let mut effects = close_batch(snapshot.policy, &mut after, &snapshot.counts);
    effects.push(Effect::CreateRollback);
    after.state = after.state.next(Event::BeginRollback)?;
    after.rollback = Some(Rollback {
        total: hosts,
        ..Rollback::default()
    });
    Ok(take(Step {
        deployment: after,
        cause: Cause::RollbackStarted { hosts },
        effects,
    }))
}

pub(super) fn decide(
    snapshot: &Snapshot<'_>,
    cancelling: bool,
    lease_us: i64,
) -> Result<Decision, InvalidTransition> {
    let (Some(rollback), Some(seen)) = (&snapshot.deployment.rollback, snapshot.rollback) else {
        return Ok(Decision::Wait { until_us: None });
    };
    let counts = seen.counts;
    if counts.is_finished() {
        return finish(snapshot, cancelling, &counts);
    }
    if cancelling {
        return Ok(give_up(snapshot, rollback, &counts, lease_us));
    }
    if rollback.released < rollback.batch_end {
        return Ok(release(
            snapshot,
            rollback,
            rollback.batch_end,
            &counts,
            lease_us,
        ));
    }
    if counts.open() > 0 {
        return Ok(give_up(snapshot, rollback, &counts, lease_us));
    }
    match seen.next_end {
        Some(end) => Ok(release(snapshot, rollback, end, &counts, lease_us)),
        // Its hosts are held beyond the last batch: that cannot be, and standing still shows it.
        None => Ok(Decision::Wait { until_us: None }),
    }
}

fn finish(
    snapshot: &Snapshot<'_>,
    cancelling: bool,
    counts: &Counts,
) -> Result<Decision, InvalidTransition> {
    let (succeeded, total) = (counts.succeeded, counts.total);
    let mut after = snapshot.deployment.clone();
    let event = if cancelling {
        Event::Drain
    } else {
        Event::FinishRollback {
            everywhere: succeeded == total,
        }
    };
    after.state = after.state.next(event)?;
    Ok(take(Step {
        deployment: after,
        cause: Cause::RollbackFinished { succeeded, total },
        effects: Vec::new(),
    }))
}

/// Releases up to `end`, or as much of it as one transaction may.
fn release(
    snapshot: &Snapshot<'_>,
    rollback: &Rollback,
    end: u64,
    counts: &Counts,
    lease_us: i64,
) -> Decision {
    let (from, to) = (rollback.released, end.min(rollback.released + RELEASE_MAX));
    let mut after = snapshot.deployment.clone();
    after.rollback = Some(Rollback {
        total: rollback.total,
        batch_end: end,
        released: to,
        wait: if to == end {
            Timer::started(lease_us, snapshot.policy.host_wait_us)
        } else {
            Timer::Off
        },
    });
    let change = SetChange::Release { from, to };
    take(Step {
        deployment: after,
        cause: Cause::RollbackDispatched { hosts: to - from },
        effects: unless_finished(counts, Target::Rollback, change),
    })
}

fn give_up(
    snapshot: &Snapshot<'_>,
    rollback: &Rollback,
    counts: &Counts,
    lease_us: i64,
) -> Decision {
    if counts.queued == 0 || counts.given_up_below >= rollback.released {
        return Decision::Wait { until_us: None };
    }
    match rollback.wait.due_at_us() {
        Some(due_us) if lease_us >= due_us => {
            let below = rollback.released;
            take(Step {
                deployment: snapshot.deployment.clone(),
                cause: Cause::HostsGivenUp {
                    batch: snapshot.deployment.batch.number,
                },
                effects: vec![Effect::Set(Target::Rollback, SetChange::GiveUp { below })],
            })
        }
        until_us => Decision::Wait { until_us },
    }
}
