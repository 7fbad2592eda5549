//! What becomes of a job. Pure: what is read and the time come in, the job as it is to be comes out.

pub mod settle;
pub mod submit;
pub mod table;
#[cfg(test)]
mod tests;

use uuid::Uuid;

use super::job::{Job, Lease};
use super::stage::Stage;
pub use table::{Actor, Event, InvalidTransition, transition};

/// The one who says so does not hold the job: the epoch has risen since, or another factory has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lease is at epoch {current}")]
pub struct StaleLease {
    pub current: i64,
}

/// Why a report of a holder comes to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReported {
    #[error(transparent)]
    Stale(#[from] StaleLease),
    #[error(transparent)]
    Invalid(#[from] InvalidTransition),
}

/// The job after an event, or why it cannot be. A claim's lease is the claim's to add; the lease of a job that goes on being
/// held stays as it is (see [`renewed`]).
pub fn after(job: &Job, actor: Actor, event: Event, now_us: i64) -> Result<Job, InvalidTransition> {
    let stage = transition(job, actor, event)?;
    let mut after = touched(job, now_us);
    after.stage = stage;
    after.reason = None;
    after.released = event == Event::HandOver;
    let goes_on = matches!(stage, Stage::Building | Stage::Review | Stage::Testing);
    if !goes_on || event == Event::HandOver {
        after.lease = None;
    }
    if matches!(event, Event::Fail | Event::Reap) {
        after.attempts = job.attempts.saturating_add(1);
    }
    if event == Event::Preempt {
        after.preemptions = job.preemptions.saturating_add(1);
    }
    let evicts = matches!(event, Event::Claim | Event::Reap | Event::Preempt);
    if evicts || actor == Actor::Operator {
        after.lease_epoch = job.lease_epoch.saturating_add(1);
    }
    after.ended_at_us = stage.is_final().then_some(now_us);
    Ok(after)
}

/// The same job at its next revision.
pub fn touched(job: &Job, now_us: i64) -> Job {
    Job {
        revision: job.revision + 1,
        updated_at_us: now_us,
        ..job.clone()
    }
}

/// With its lease prolonged to `expires_lease_us`, if it is held.
#[must_use]
pub fn renewed(mut job: Job, expires_lease_us: i64) -> Job {
    if let Some(lease) = &mut job.lease {
        lease.expires_lease_us = expires_lease_us;
    }
    job
}

/// The lease of whoever names this epoch, and this factory if any is named. None: nobody holds it, at the current epoch.
pub fn lease_at(
    job: &Job,
    lease_epoch: i64,
    factory_id: Option<Uuid>,
) -> Result<Option<&Lease>, StaleLease> {
    let stale = StaleLease {
        current: job.lease_epoch,
    };
    if lease_epoch != job.lease_epoch {
        return Err(stale);
    }
    match (&job.lease, factory_id) {
        (Some(lease), Some(factory_id)) if lease.factory_id != factory_id => Err(stale),
        (lease, _) => Ok(lease.as_ref()),
    }
}

/// The same of one who must hold it.
pub fn held(job: &Job, lease_epoch: i64, factory_id: Option<Uuid>) -> Result<(), StaleLease> {
    lease_at(job, lease_epoch, factory_id)?.map_or(
        Err(StaleLease {
            current: job.lease_epoch,
        }),
        |_| Ok(()),
    )
}

/// What a holder means who reports this stage. None: nothing a holder can do leads there.
pub fn reported(stage: Stage, release: bool) -> Option<Event> {
    match stage {
        Stage::Building => Some(Event::Build),
        Stage::Review if release => Some(Event::HandOver),
        Stage::Review => Some(Event::Review),
        Stage::Testing => Some(Event::Test),
        Stage::Shipped => Some(Event::Ship),
        Stage::Failed => Some(Event::Fail),
        Stage::Queued => Some(Event::Release),
        Stage::Blocked | Stage::Assigned | Stage::DeadLetter | Stage::Cancelled => None,
    }
}
