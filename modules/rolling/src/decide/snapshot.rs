//! What a decision looks at.

use super::deployment::Deployment;
use super::policy::Policy;
use super::tally::Counts;

/// Everything a decision looks at.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    pub policy: &'a Policy,
    pub deployment: &'a Deployment,
    pub counts: Counts,
    /// Of the rollback's set, once there is one.
    pub rollback: Option<Seen>,
    /// How many hosts had started, once that was asked for.
    pub started: Option<u64>,
}

/// What is seen of a rollback's set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub counts: Counts,
    /// Where the batch after the current one ends; none after the last.
    pub next_end: Option<u64>,
}
