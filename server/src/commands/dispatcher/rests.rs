//! Who is sent nothing for a while: hosts that have asked for it, sets whose secrets cannot be read.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// Those that rest, by id and by when they are to be looked at again. Moments are monotonic µs.
#[derive(Debug)]
pub(super) struct Rests<Id> {
    until: HashMap<Id, i64>,
    by_time: BTreeSet<(i64, Id)>,
}

impl<Id> Default for Rests<Id> {
    fn default() -> Self {
        Self {
            until: HashMap::new(),
            by_time: BTreeSet::new(),
        }
    }
}

impl<Id: Copy + Ord + Hash> Rests<Id> {
    /// Lets one rest until a moment. A shorter rest does not cut a longer one short.
    pub(super) fn begin(&mut self, id: Id, until: i64) {
        let latest = self.until.entry(id).or_insert(i64::MIN);
        if until > *latest {
            self.by_time.remove(&(*latest, id));
            self.by_time.insert((until, id));
            *latest = until;
        }
    }

    pub(super) fn includes(&self, id: Id) -> bool {
        self.until.contains_key(&id)
    }

    /// Takes out the one whose rest has been over for longest, if there is one.
    pub(super) fn pop_over(&mut self, now: i64) -> Option<Id> {
        let (until, id) = *self.by_time.first()?;
        if until > now {
            return None;
        }
        self.by_time.pop_first();
        self.until.remove(&id);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use fleetwright_protocol::HostId;

    use super::*;

    fn host(number: u128) -> HostId {
        HostId(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn the_longest_rest_counts_and_hosts_come_back_in_order() {
        let mut rests = Rests::default();
        for (number, until) in [(1, 30), (2, 20), (1, 10), (3, 20), (2, 25)] {
            rests.begin(host(number), until);
        }
        assert_eq!(rests.pop_over(19), None);
        assert!(rests.includes(host(1)) && !rests.includes(host(4)));
        assert_eq!(rests.pop_over(20), Some(host(3)));
        assert_eq!(rests.pop_over(24), None);
        assert_eq!(rests.pop_over(30), Some(host(2)));
        assert_eq!(rests.pop_over(30), Some(host(1)));
        assert_eq!(rests.pop_over(i64::MAX), None);
        assert!(!rests.includes(host(1)));
        rests.begin(host(1), 5);
        assert!(rests.includes(host(1)));
    }
}
