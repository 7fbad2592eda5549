//! What a deployment does next. Pure: what is stored and what the core counts, and the time, in; one step out, to be
//! written whole and only if nothing was written since. Level-triggered: it may be asked at any time, twice, by two
//! controllers, or after a crash between any two steps. Each question costs the same however many hosts there are.
//!
//! The order of looking: cancel, threshold, pause, approval, delay, dispatch.

pub mod control;
pub mod policy;
pub mod rollback;
pub mod state;
mod step;
pub mod tally;
pub mod timer;

use fleetwright_operations::decide::outcome;
use serde::{Deserialize, Serialize};

use policy::{OnThreshold, Policy, is_passed};
use rollback::Rollback;
use state::{Event, InvalidTransition, PauseCause, State};
pub use step::{Cause, Decision, Effect, SetChange, Step, Target};
pub use tally::{Counts, Tally};
use timer::Timer;

/// Hosts released in one transaction: the core holds its writer for some 10 ms for them.
pub const RELEASE_MAX: u64 = 500;

/// What changes in the life of a deployment; stored as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    pub state: State,
    pub batch: Batch,
    /// The highest batch someone approved.
    pub approved: u64,
    /// Counted failures that someone has seen and accepted.
    pub acknowledged: u64,
    pub rollback: Option<Rollback>,
}

/// The batch that was dispatched last; number 0 before the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    pub number: u64,
    /// Hosts before this ordinal are released.
    pub released: u64,
    /// Every host of it is terminal.
    pub finished: bool,
    /// What was counted before it was dispatched.
    pub before: Tally,
    /// Of its counted failures: those someone has accepted.
    pub acknowledged: u64,
    /// Until the next batch, once this one is finished.
    pub delay: Timer,
    /// Until its hosts must have started.
    pub wait: Timer,
}

/// Everything a decision looks at.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    pub policy: &'a Policy,
    pub deployment: &'a Deployment,
    pub counts: Counts,
    /// Of the rollback's set, once there is one.
    pub rollback: Option<rollback::Seen>,
    /// How many hosts had started, once that was asked for.
    pub started: Option<u64>,
}

impl Deployment {
    pub fn new() -> Self {
        Self {
            state: State::Queued { cancelling: false },
            batch: Batch::default(),
            approved: 0,
            acknowledged: 0,
            rollback: None,
        }
    }

    /// When the next batch will be dispatched, as far as that is known.
    pub fn next_batch_at_us(&self, policy: &Policy) -> Option<i64> {
        let more = self.batch.number < policy.partition.count();
        let goes_on = matches!(
            self.state,
            State::Running
                | State::AwaitingApproval {
                    cancelling: false,
                    ..
                }
        );
        if more && goes_on && self.batch.finished {
            self.batch.delay.due_at_us()
        } else {
            None
        }
    }

    /// Nothing is waited for longer than was asked, whatever the clock has done since.
    fn limit_waits(&mut self, policy: &Policy, now_us: i64) {
        let batch = &mut self.batch;
        batch.delay = batch.delay.limited(now_us, policy.batch_delay_us);
        batch.wait = batch.wait.limited(now_us, policy.host_wait_us);
        if let Some(rollback) = &mut self.rollback {
            rollback.wait = rollback.wait.limited(now_us, policy.host_wait_us);
        }
    }

    /// A batch that ends before all of it was released is waited for from now on.
    fn wait_for_open_hosts(&mut self, policy: &Policy, now_us: i64) {
        let begun = Timer::started(now_us, policy.host_wait_us);
        let batch = &mut self.batch;
        if batch.number > 0 && !batch.finished && batch.wait == Timer::Off {
            batch.wait = begun;
        }
        if let Some(rollback) = &mut self.rollback
            && rollback.wait == Timer::Off
        {
            rollback.wait = begun;
        }
    }
}

impl Default for Deployment {
    fn default() -> Self {
        Self::new()
    }
}

/// What to do now.
pub fn decide(snapshot: &Snapshot<'_>, now_us: i64) -> Decision {
    if let Some(step) = clock_set_back(snapshot, now_us) {
        return take(step);
    }
    let next = match snapshot.deployment.state {
        State::Over { .. } | State::Paused { .. } => return Decision::Wait { until_us: None },
        State::Queued { cancelling: true }
        | State::AwaitingApproval {
            cancelling: true, ..
        }
        | State::Cancelling => drain(snapshot, now_us),
        State::Halting => halting(snapshot, now_us),
        State::RollingBack { cancelling } => rollback::decide(snapshot, cancelling, now_us),
        State::AwaitingApproval {
            cancelling: false, ..
        } => {
            return Decision::Wait { until_us: None };
        }
        State::Queued { cancelling: false } => dispatch(snapshot, now_us),
        State::Running => running(snapshot, now_us),
    };
    // No move below is made from a state that does not have it: should one be, standing still is the safe answer.
    next.unwrap_or(Decision::Wait { until_us: None })
}

/// The threshold that the failures so far pass, if any.
pub fn passed_threshold(snapshot: &Snapshot<'_>) -> Option<Cause> {
    let Snapshot {
        policy,
        deployment,
        counts,
        ..
    } = *snapshot;
    let tally = counts.tally();
    let failed = tally
        .counted(policy)
        .saturating_sub(deployment.acknowledged);
    let threshold_pct = policy.failure_threshold_pct;
    let total = policy.total;
    if is_passed(failed, threshold_pct, total) {
        return Some(Cause::FailureThresholdPassed {
            failed,
            total,
            threshold_pct,
        });
    }
    let threshold_pct = policy.batch_failure_threshold_pct?;
    let batch = &deployment.batch;
    let of_batch = tally.since(&batch.before).counted(policy);
    let failed = of_batch.saturating_sub(batch.acknowledged);
    let size = batch_size(policy, batch.number);
    is_passed(failed, threshold_pct, size).then_some(Cause::BatchFailureThresholdPassed {
        batch: batch.number,
        failed,
        size,
        threshold_pct,
    })
}

/// How many hosts a batch has.
pub fn batch_size(policy: &Policy, batch: u64) -> u64 {
    let start = policy.partition.end(batch.saturating_sub(1));
    policy.partition.end(batch).saturating_sub(start)
}

/// No wait is longer than it was asked for: one that is was begun before the clock was set back, and begins anew.
fn clock_set_back(snapshot: &Snapshot<'_>, now_us: i64) -> Option<Step> {
    if snapshot.deployment.state.is_terminal() {
        return None;
    }
    let mut after = snapshot.deployment.clone();
    after.limit_waits(snapshot.policy, now_us);
    (after != *snapshot.deployment).then(|| Step {
        deployment: after,
        cause: Cause::ClockSetBack,
        effects: Vec::new(),
    })
}

fn running(snapshot: &Snapshot<'_>, now_us: i64) -> Result<Decision, InvalidTransition> {
    let Snapshot {
        policy,
        deployment,
        counts,
        ..
    } = *snapshot;
    if let Some(cause) = passed_threshold(snapshot) {
        return match policy.on_threshold {
            OnThreshold::Halt => halt(snapshot, cause, now_us),
            OnThreshold::Pause => {
                let step = control::paused(snapshot, PauseCause::Threshold, cause, now_us)?;
                Ok(take(step))
            }
        };
    }
    let batch = &deployment.batch;
    if batch.released < policy.partition.end(batch.number) {
        return Ok(release(snapshot, now_us));
    }
    if !batch.finished {
        if counts.open() > 0 {
            return Ok(give_up(snapshot, now_us));
        }
        return finish_batch(snapshot, now_us);
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
        && now_us < due_us
    {
        return Ok(Decision::Wait {
            until_us: Some(due_us),
        });
    }
    dispatch(snapshot, now_us)
}

/// The next batch begins, with as many of its hosts as one transaction may release.
fn dispatch(snapshot: &Snapshot<'_>, now_us: i64) -> Result<Decision, InvalidTransition> {
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
    effects.extend(release_next(policy, &mut after, &counts, now_us));
    Ok(take(Step {
        deployment: after,
        cause: Cause::BatchDispatched { batch: number },
        effects,
    }))
}

fn release(snapshot: &Snapshot<'_>, now_us: i64) -> Decision {
    let Snapshot {
        policy,
        deployment,
        counts,
        ..
    } = *snapshot;
    let mut after = deployment.clone();
    let effects = release_next(policy, &mut after, &counts, now_us);
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
    now_us: i64,
) -> Option<Effect> {
    let batch = &mut after.batch;
    let end = policy.partition.end(batch.number);
    let (from, to) = (batch.released, end.min(batch.released + RELEASE_MAX));
    batch.released = to;
    if to == end {
        batch.wait = Timer::started(now_us, policy.host_wait_us);
    }
    // A finished set has nothing to release, and takes no more orders.
    let change = SetChange::Release { from, to };
    (!counts.is_finished()).then_some(Effect::Set(Target::Deployment, change))
}

/// Hosts of the batch are still open: those that did not start in time are given up.
fn give_up(snapshot: &Snapshot<'_>, now_us: i64) -> Decision {
    let Snapshot {
        deployment, counts, ..
    } = *snapshot;
    let batch = &deployment.batch;
    if counts.queued == 0 || counts.given_up_below >= batch.released {
        return Decision::Wait { until_us: None };
    }
    match batch.wait.due_at_us() {
        Some(due_us) if now_us >= due_us => {
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

fn finish_batch(snapshot: &Snapshot<'_>, now_us: i64) -> Result<Decision, InvalidTransition> {
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
        after.batch.delay = Timer::started(now_us, policy.batch_delay_us);
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
fn close_batch(policy: &Policy, after: &mut Deployment, counts: &Counts) -> Vec<Effect> {
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

fn halt(snapshot: &Snapshot<'_>, cause: Cause, now_us: i64) -> Result<Decision, InvalidTransition> {
    let Snapshot {
        deployment, counts, ..
    } = *snapshot;
    let mut after = deployment.clone();
    after.state = after.state.next(Event::Halt)?;
    after.wait_for_open_hosts(snapshot.policy, now_us);
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
fn halting(snapshot: &Snapshot<'_>, now_us: i64) -> Result<Decision, InvalidTransition> {
    if !snapshot.counts.is_finished() || !snapshot.policy.has_rollback {
        return drain(snapshot, now_us);
    }
    match snapshot.started {
        None => Ok(Decision::GatherStarted),
        // Nothing ran, so there is nothing to roll back.
        Some(0) => drain(snapshot, now_us),
        Some(hosts) => rollback::begin(snapshot, hosts),
    }
}

fn drain(snapshot: &Snapshot<'_>, now_us: i64) -> Result<Decision, InvalidTransition> {
    let Snapshot {
        policy,
        deployment,
        counts,
        ..
    } = *snapshot;
    if !counts.is_finished() {
        return Ok(give_up(snapshot, now_us));
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

fn take(step: Step) -> Decision {
    Decision::Take(Box::new(step))
}

#[cfg(test)]
mod tests;
