//! Which hosts are sent nothing for a while, because they have asked for it.

use std::collections::{BTreeSet, HashMap};

use fleetwright_protocol::HostId;

/// Hosts that rest, by host and by when they are to be looked at again. Moments are monotonic µs.
#[derive(Debug, Default)]
pub(super) struct Rests {
    until: HashMap<HostId, i64>,
    by_time: BTreeSet<(i64, HostId)>,
}

impl Rests {
    /// Lets a host rest until a moment. A shorter rest does not cut a longer one short.
    pub(super) fn begin(&mut self, host: HostId, until: i64) {
        let latest = self.until.entry(host).or_insert(i64::MIN);
        if until > *latest {
            self.by_time.remove(&(*latest, host));
            self.by_time.insert((until, host));
            *latest = until;
        }
    }

    pub(super) fn includes(&self, host: HostId) -> bool {
        self.until.contains_key(&host)
    }

    /// Takes out the host whose rest has been over for longest, if there is one.
    pub(super) fn pop_over(&mut self, now: i64) -> Option<HostId> {
        let (until, host) = *self.by_time.first()?;
        if until > now {
            return None;
        }
        self.by_time.pop_first();
        self.until.remove(&host);
        Some(host)
    }
}

#[cfg(test)]
mod tests {
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
