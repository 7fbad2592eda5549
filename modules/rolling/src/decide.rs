//! What a deployment does next. Pure: what is stored and what the core counts, and the time, in; one step out, to be
//! written whole and only if nothing was written since. Level-triggered: it may be asked at any time, twice, by two
//! controllers, or after a crash between any two steps. Each question costs the same however many hosts there are.
//!
//! The order of looking: cancel, threshold, pause, approval, delay, dispatch.

mod batch;
pub mod control;
mod deployment;
pub mod policy;
mod rollback;
mod snapshot;
pub mod state;
mod step;
pub mod tally;
mod threshold;
pub mod timer;

use batch::{close_batch, dispatch, finish_batch, give_up, release};
use policy::OnThreshold;
use state::{Event, InvalidTransition, PauseCause, State};
use step::take;

pub use batch::RELEASE_MAX;
pub use deployment::{Batch, Deployment, Rollback};
pub use policy::batch_size;
pub use snapshot::{Seen, Snapshot};
pub use step::{Cause, Decision, Effect, SetChange, Step, Target};
pub use tally::{Counts, Tally};
pub use threshold::passed_threshold;

/// What to do now, by the lease clock.
pub fn decide(snapshot: &Snapshot<'_>, lease_us: i64) -> Decision {
    if let Some(step) = clock_set_back(snapshot, lease_us) {
        return take(step);
    }
    let next = match snapshot.deployment.state {
        State::Over { .. } | State::Paused { .. } => return Decision::Wait { until_us: None },
        State::Queued { cancelling: true }
        | State::AwaitingApproval {
            cancelling: true, ..
        }
        | State::Cancelling => drain(snapshot, lease_us),
        State::Halting => halting(snapshot, lease_us),
        State::RollingBack { cancelling } => rollback::decide(snapshot, cancelling, lease_us),
        State::AwaitingApproval {
            cancelling: false, ..
        } => {
            return Decision::Wait { until_us: None };
        }
        State::Queued { cancelling: false } => dispatch(snapshot, lease_us),
        State::Running => running(snapshot, lease_us),
    };
    // No move below is made from a state that does not have it: should one be, standing still is the safe answer.
    next.unwrap_or(Decision::Wait { until_us: None })
}

/// No wait is longer than it was asked for: one that is was begun by a lease clock that was ahead of this one, such as that
/// of before a restart of the machine or of another server, and begins anew.
fn clock_set_back(snapshot: &Snapshot<'_>, lease_us: i64) -> Option<Step> {
    if snapshot.deployment.state.is_terminal() {
        return None;
    }
    let mut after = snapshot.deployment.clone();
    after.limit_waits(snapshot.policy, lease_us);
    (after != *snapshot.deployment).then(|| Step {
        deployment: after,
        cause: Cause::ClockSetBack,
        effects: Vec::new(),
    })
}

fn running(snapshot: &Snapshot<'_>, lease_us: i64) -> Result<Decision, InvalidTransition> {
    let Snapshot {
        policy,
        deployment,
        counts,
        ..
    } = *snapshot;
    if let Some(cause) = passed_threshold(snapshot) {
        return match policy.on_threshold {
            OnThreshold::Halt => halt(snapshot, cause, lease_us),
            OnThreshold::Pause => {
                let step = control::paused(snapshot, PauseCause::Threshold, cause, lease_us)?;
                Ok(take(step))
            }
        };
    }
    let batch = &deployment.batch;
    if batch.released < policy.partition.end(batch.number) {
        return Ok(release(snapshot, lease_us));
    }
    if !batch.finished {
        if counts.open() > 0 {
            return Ok(give_up(snapshot, lease_us));
        }
        return finish_batch(snapshot, lease_us);
    }
    let next = batch.number + 1;
    if policy.needs_approval(next) && deployment.approved < next {
        let mut after = deployment.clone();
        after.state = after.state.next(Event::ApprovalRequired { batch: next })?;
        return Ok(take(Step {
            deployment: after,
            cause: Cause::ApprovalRequired { batch: next },
            effects: Vec::new(),
        }));
    }
    if let Some(due_us) = batch.delay.due_at_us()
        && lease_us < due_us
    {
        return Ok(Decision::Wait {
            until_us: Some(due_us),
        });
    }
    dispatch(snapshot, lease_us)
}

fn halt(
    snapshot: &Snapshot<'_>,
    cause: Cause,
    lease_us: i64,
) -> Result<Decision, InvalidTransition> {
    let Snapshot {
        deployment, counts, ..
    } = *snapshot;
    let mut after = deployment.clone();
    after.state = after.state.next(Event::Halt)?;
    after.wait_for_open_hosts(snapshot.policy, lease_us);
    let change = SetChange::Cancel {
        kill: false,
        halted: true,
    };
    let effect = (!counts.is_finished()).then_some(Effect::Set(Target::Deployment, change));
    Ok(take(Step {
        deployment: after,
        cause,
        effects: effect.into_iter().collect(),
    }))
}

/// Waits until no host is open, and gives up those that do not answer.
fn halting(snapshot: &Snapshot<'_>, lease_us: i64) -> Result<Decision, InvalidTransition> {
    if !snapshot.counts.is_finished() || !snapshot.policy.has_rollback {
        return drain(snapshot, lease_us);
    }
    match snapshot.started {
        None => Ok(Decision::GatherStarted),
        // Nothing ran, so there is nothing to roll back.
        Some(0) => drain(snapshot, lease_us),
        Some(hosts) => rollback::begin(snapshot, hosts),
    }
}

fn drain(snapshot: &Snapshot<'_>, lease_us: i64) -> Result<Decision, InvalidTransition> {
    let Snapshot {
        policy,
        deployment,
        counts,
        ..
    } = *snapshot;
    if !counts.is_finished() {
        return Ok(give_up(snapshot, lease_us));
    }
    let mut after = deployment.clone();
    let effects = close_batch(policy, &mut after, &counts);
    after.state = after.state.next(Event::Drain)?;
    Ok(take(Step {
        deployment: after,
        cause: Cause::Drained,
        effects,
    }))
}

#[cfg(test)]
mod tests;
