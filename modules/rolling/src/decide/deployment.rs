//! A deployment as it is stored: its state, its current batch, its rollback, and what they wait for. Not what it does next.

use serde::{Deserialize, Serialize};

use super::policy::Policy;
use super::state::State;
use super::tally::Tally;
use super::timer::Timer;

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

/// How far a rollback is. Ordinals are of its own set, which is frozen in reverse batch order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    pub total: u64,
    /// Where the current batch ends.
    pub batch_end: u64,
    pub released: u64,
    pub wait: Timer,
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
    pub(super) fn limit_waits(&mut self, policy: &Policy, lease_us: i64) {
        let batch = &mut self.batch;
        batch.delay = batch.delay.limited(lease_us, policy.batch_delay_us);
        batch.wait = batch.wait.limited(lease_us, policy.host_wait_us);
        if let Some(rollback) = &mut self.rollback {
            rollback.wait = rollback.wait.limited(lease_us, policy.host_wait_us);
        }
    }

    /// A batch that ends before all of it was released is waited for from now on.
    pub(super) fn wait_for_open_hosts(&mut self, policy: &Policy, lease_us: i64) {
        let begun = Timer::started(lease_us, policy.host_wait_us);
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

impl Rollback {
    /// An ordinal of the rollback's set before which there is no host up to this ordinal of the deployment: its last batches
    /// come first, and of its first ones there cannot be more hosts than they have.
    pub fn earliest_ordinal(&self, policy: &Policy, ordinal: u64) -> u64 {
        let batch = policy.partition.batch_of(ordinal);
        self.total.saturating_sub(policy.partition.end(batch))
    }
}
