//! Counters of a command set, as decisions read them, and how hosts ended. Pure.

use serde::{Deserialize, Serialize};

use super::policy::Policy;

/// How hosts ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub succeeded: u64,
    pub failed: u64,
    /// Of `failed`: those that never started.
    pub unreachable: u64,
}

/// The counters of a command set. `held + queued + running + succeeded + failed + skipped == total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub total: u64,
    pub held: u64,
    /// Released and not started.
    pub queued: u64,
    pub running: u64,
    pub succeeded: u64,
    pub failed: u64,
    /// Of `failed`: those that never started.
    pub unreachable: u64,
    pub skipped: u64,
    /// Hosts before this ordinal are not waited for any more.
    pub given_up_below: u64,
}

impl Counts {
    /// Hosts that were released and are not terminal.
    pub fn open(&self) -> u64 {
        self.queued + self.running
    }

    pub fn is_finished(&self) -> bool {
        self.held + self.open() == 0
    }

    pub fn tally(&self) -> Tally {
        Tally {
            succeeded: self.succeeded,
            failed: self.failed,
            unreachable: self.unreachable,
        }
    }
}

impl Tally {
    /// The failures that thresholds look at.
    pub fn counted(&self, policy: &Policy) -> u64 {
        if policy.count_unreachable {
            self.failed
        } else {
            self.failed.saturating_sub(self.unreachable)
        }
    }

    pub fn since(&self, before: &Self) -> Self {
        Self {
            succeeded: self.succeeded.saturating_sub(before.succeeded),
            failed: self.failed.saturating_sub(before.failed),
            unreachable: self.unreachable.saturating_sub(before.unreachable),
        }
    }
}
