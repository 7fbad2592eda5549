//! What clients were told, which no kill may take back.

use std::collections::{BTreeMap, BTreeSet};

/// A claim that was answered with a job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    pub factory_id: String,
    pub claim_id: String,
}

#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// By job and epoch: who was given it.
    pub claims: BTreeMap<(String, i64), Claim>,
    /// Micro-dollars by product and key.
    pub spends: BTreeMap<(String, String), i64>,
    pub jobs: BTreeSet<String>,
    pub shipped: BTreeSet<String>,
    pub placements: BTreeSet<String>,
}

impl Heard {
    /// Panics if the same lease was given to somebody else before.
    pub fn claimed(&mut self, job: String, epoch: i64, claim: Claim) {
        let lease = (job, epoch);
        if let Some(other) = self.claims.get(&lease) {
            assert_eq!(*other, claim, "{lease:?} has two holders");
        }
        self.claims.insert(lease, claim);
    }
}
