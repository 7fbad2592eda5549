//! What a rollback does next: the hosts that had started, batch after batch from the last to the first, each batch when
//! the one before is terminal. No delays, no thresholds; only the wait for hosts that do not start.

use serde::{Deserialize, Serialize};

use super::control::unless_finished;
use super::policy::Policy;
use super::state::{Event, InvalidTransition};
use super::timer::Timer;
use super::{
    Cause, Counts, Decision, Effect, RELEASE_MAX, SetChange, Snapshot, Step, Target, take,
};

/// How far a rollback is. Ordinals are of its own set, which is frozen in reverse batch order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    pub total: u64,
    /// Where the current batch ends.
    pub batch_end: u64,
    pub released: u64,
    pub wait: Timer,
}

/// What is seen of a rollback's set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub counts: Counts,
    /// Where the batch after the current one ends; none after the last.
    pub next_end: Option<u64>,
}

impl Rollback {
    /// An ordinal of the rollback's set before which there is no host up to this ordinal of the deployment: its last batches
    /// come first, and of its first ones there cannot be more hosts than they have.
    pub fn earliest_ordinal(&self, policy: &Policy, ordinal: u64) -> u64 {
        let batch = policy.partition.batch_of(ordinal);
        self.total.saturating_sub(policy.partition.end(batch))
    }
}

/// The deployment halted and drained, and `hosts` of it had started.
pub(super) fn begin(snapshot: &Snapshot<'_>, hosts: u64) -> Result<Decision, InvalidTransition> {
    let mut after = snapshot.deployment.clone();
    let mut effects = super::close_batch(snapshot.policy, &mut after, &snapshot.counts);
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
    now_us: i64,
) -> Result<Decision, InvalidTransition> {
    let (Some(rollback), Some(seen)) = (&snapshot.deployment.rollback, snapshot.rollback) else {
        return Ok(Decision::Wait { until_us: None });
    };
    let counts = seen.counts;
    if counts.is_finished() {
        return finish(snapshot, cancelling, &counts);
    }
    if cancelling {
        return Ok(give_up(snapshot, rollback, &counts, now_us));
    }
    if rollback.released < rollback.batch_end {
        return Ok(release(
            snapshot,
            rollback,
            rollback.batch_end,
            &counts,
            now_us,
        ));
    }
    if counts.open() > 0 {
        return Ok(give_up(snapshot, rollback, &counts, now_us));
    }
    match seen.next_end {
        Some(end) => Ok(release(snapshot, rollback, end, &counts, now_us)),
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
    now_us: i64,
) -> Decision {
    let (from, to) = (rollback.released, end.min(rollback.released + RELEASE_MAX));
    let mut after = snapshot.deployment.clone();
    after.rollback = Some(Rollback {
        total: rollback.total,
        batch_end: end,
        released: to,
        wait: if to == end {
            Timer::started(now_us, snapshot.policy.host_wait_us)
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

fn give_up(snapshot: &Snapshot<'_>, rollback: &Rollback, counts: &Counts, now_us: i64) -> Decision {
    if counts.queued == 0 || counts.given_up_below >= rollback.released {
        return Decision::Wait { until_us: None };
    }
    match rollback.wait.due_at_us() {
        Some(due_us) if now_us >= due_us => {
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
