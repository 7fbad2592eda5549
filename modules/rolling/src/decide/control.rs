//! What an operator's wish comes to: pause, resume, cancel, approve. Pure, like everything decided here.

use super::deployment::Deployment;
use super::policy::OnThreshold;
use super::snapshot::Snapshot;
use super::state::{Event, InvalidTransition, PauseCause, State};
use super::step::{Cause, Effect, SetChange, Step, Target};
use super::tally::Counts;
use super::threshold::passed_threshold;

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    Pause,
    Resume,
    Cancel { kill: bool },
    Approve { batch: u64 },
}

impl Control {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel { .. } => "cancel",
            Self::Approve { .. } => "approve",
        }
    }
}

/// The step a control comes to; none if it is so already.
pub fn control(
    snapshot: &Snapshot<'_>,
    asked: Control,
    lease_us: i64,
) -> Result<Option<Step>, InvalidTransition> {
    match asked {
        Control::Pause => {
            let (cause, why) = (PauseCause::Operator, Cause::PausedByOperator);
            let step = paused(snapshot, cause, why, lease_us)?;
            Ok((step.deployment.state != snapshot.deployment.state).then_some(step))
        }
        Control::Resume => resumed(snapshot, lease_us).map(Some),
        Control::Cancel { kill } => cancelled(snapshot, kill, lease_us),
        Control::Approve { batch } => {
            let mut after = snapshot.deployment.clone();
            after.state = after.state.next(Event::Approve { batch })?;
            after.approved = batch;
            Ok(Some(Step {
                deployment: after,
                cause: Cause::Approved { batch },
                effects: Vec::new(),
            }))
        }
    }
}

/// Stops dispatch and the clocks. Hosts that run finish.
pub(super) fn paused(
    snapshot: &Snapshot<'_>,
    cause: PauseCause,
    why: Cause,
    lease_us: i64,
) -> Result<Step, InvalidTransition> {
    let mut after = snapshot.deployment.clone();
    after.state = after.state.next(Event::Pause(cause))?;
    after.limit_waits(snapshot.policy, lease_us);
    after.batch.delay = after.batch.delay.stopped(lease_us);
    after.batch.wait = after.batch.wait.stopped(lease_us);
    Ok(Step {
        deployment: after,
        cause: why,
        effects: unless_finished(&snapshot.counts, Target::Deployment, SetChange::Pause),
    })
}

/// Goes on, with the rest of the clocks. Failures that made it stop are accepted.
fn resumed(snapshot: &Snapshot<'_>, lease_us: i64) -> Result<Step, InvalidTransition> {
    let mut after = snapshot.deployment.clone();
    let was_stopped_by_failures = match after.state {
        State::Paused { cause, .. } => cause == PauseCause::Threshold,
        State::Queued { .. }
        | State::Running
        | State::AwaitingApproval { .. }
        | State::Halting
        | State::Cancelling
        | State::RollingBack { .. }
        | State::Over { .. } => false,
    };
    after.state = after.state.next(Event::Resume)?;
    start_clocks(&mut after, lease_us);
    let mut acknowledged = 0;
    if was_stopped_by_failures || is_passed_and_would_pause(snapshot) {
        acknowledged = acknowledge(snapshot, &mut after);
    }
    Ok(Step {
        deployment: after,
        cause: Cause::ResumedByOperator { acknowledged },
        effects: unless_finished(&snapshot.counts, Target::Deployment, SetChange::Resume),
    })
}

/// Failures came while someone had it paused: whoever resumes it has them before their eyes.
fn is_passed_and_would_pause(snapshot: &Snapshot<'_>) -> bool {
    snapshot.policy.on_threshold == OnThreshold::Pause && passed_threshold(snapshot).is_some()
}

/// Accepts the failures so far; returns how many there are.
fn acknowledge(snapshot: &Snapshot<'_>, after: &mut Deployment) -> u64 {
    let tally = snapshot.counts.tally();
    after.acknowledged = tally.counted(snapshot.policy);
    let of_batch = tally.since(&after.batch.before);
    after.batch.acknowledged = of_batch.counted(snapshot.policy);
    after.acknowledged
}

fn cancelled(
    snapshot: &Snapshot<'_>,
    kill: bool,
    lease_us: i64,
) -> Result<Option<Step>, InvalidTransition> {
    let mut after = snapshot.deployment.clone();
    let state = after.state;
    after.state = state.next(Event::Cancel)?;
    // What has not started is being skipped already; only ending what runs adds to that.
    if state == after.state && !kill {
        return Ok(None);
    }
    start_clocks(&mut after, lease_us);
    after.wait_for_open_hosts(snapshot.policy, lease_us);
    let change = SetChange::Cancel {
        kill,
        halted: false,
    };
    let effects = match (after.state, snapshot.rollback) {
        (State::RollingBack { .. }, Some(seen)) => {
            unless_finished(&seen.counts, Target::Rollback, change)
        }
        (State::RollingBack { .. }, None)
        | (
            State::Queued { .. }
            | State::Running
            | State::AwaitingApproval { .. }
            | State::Paused { .. }
            | State::Halting
            | State::Cancelling
            | State::Over { .. },
            _,
        ) => unless_finished(&snapshot.counts, Target::Deployment, change),
    };
    Ok(Some(Step {
        deployment: after,
        cause: Cause::CancelledByOperator { kill },
        effects,
    }))
}

fn start_clocks(after: &mut Deployment, lease_us: i64) {
    after.batch.delay = after.batch.delay.resumed(lease_us);
    after.batch.wait = after.batch.wait.resumed(lease_us);
}

/// A finished set takes no more orders, and needs none.
pub(super) fn unless_finished(counts: &Counts, target: Target, change: SetChange) -> Vec<Effect> {
    if counts.is_finished() {
        Vec::new()
    } else {
        vec![Effect::Set(target, change)]
    }
}
