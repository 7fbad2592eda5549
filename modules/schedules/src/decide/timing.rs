//! A schedule's fires in time: from the timetable, within its bounds, with its jitter.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::timetable::Timetable;

/// When a schedule fires.
#[derive(Clone, Debug)]
pub struct Timing {
    pub schedule_id: Uuid,
    pub timetable: Timetable,
    pub jitter_seconds: u64,
    /// Inclusive.
    pub starts_at_us: Option<i64>,
    /// Exclusive.
    pub ends_at_us: Option<i64>,
}

/// A fire to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// What the expression says.
    pub nominal_us: i64,
    /// With the jitter; before the fire after it.
    pub due_us: i64,
}

/// The id of the run, and of the operation it launches: made of the schedule and the nominal time, so that the same fire is
/// the same operation whoever launches it and however often. In form a UUIDv7 of the nominal time.
pub fn operation_id(schedule_id: Uuid, nominal_us: i64) -> Uuid {
    let milliseconds = u64::try_from(nominal_us / 1_000).unwrap_or_default();
    let mut tail = [0_u8; 10];
    for (to, from) in tail
        .iter_mut()
        .zip(pair_digest(b"operation", schedule_id, nominal_us))
    {
        *to = from;
    }
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &tail).into_uuid()
}

impl Timing {
    /// The first fire whose nominal time is after this one.
    pub fn next_after(&self, after_us: i64) -> Option<Next> {
        let from_us = self
            .starts_at_us
            .map_or(after_us, |starts_us| after_us.max(starts_us - 1));
        let nominal_us = self.timetable.next_after(from_us)?;
        self.is_before_end(nominal_us)
            .then(|| self.with_jitter(nominal_us))
    }

    /// The newest fire that is due, from one on that is.
    pub fn last_due(&self, due: Next, now_us: i64) -> Next {
        let mut until_us = match self.ends_at_us {
            Some(ends_us) => now_us.min(ends_us - 1),
            None => now_us,
        };
        // The last nominal time may still be waiting for its jitter; the one before it is due then.
        for _ in 0..2 {
            let Some(nominal_us) = self.timetable.last_between(due.nominal_us, until_us) else {
                return due;
            };
            let last = self.with_jitter(nominal_us);
            if last.due_us <= now_us {
                return last;
            }
            until_us = nominal_us - 1;
        }
        due
    }

    fn is_before_end(&self, nominal_us: i64) -> bool {
        self.ends_at_us.is_none_or(|ends_us| nominal_us < ends_us)
    }

    /// The jitter is less than the time to the next fire, so fires stay in their order.
    fn with_jitter(&self, nominal_us: i64) -> Next {
        let widest_us = i64::try_from(self.jitter_seconds)
            .unwrap_or(i64::MAX)
            .saturating_mul(1_000_000);
        if widest_us == 0 {
            return Next {
                nominal_us,
                due_us: nominal_us,
            };
        }
        let interval_us = self
            .timetable
            .next_after(nominal_us)
            .map_or(widest_us, |next_us| next_us - nominal_us);
        let digest = pair_digest(b"jitter", self.schedule_id, nominal_us);
        let hash = digest
            .first_chunk::<8>()
            .map_or(0, |head| u64::from_be_bytes(*head) >> 1);
        let jitter_us = i64::try_from(hash).unwrap_or_default() % widest_us.min(interval_us);
        Next {
            nominal_us,
            due_us: nominal_us + jitter_us,
        }
    }
}

fn pair_digest(purpose: &[u8], schedule_id: Uuid, nominal_us: i64) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(b"fleetwright schedules ");
    digest.update(purpose);
    digest.update(schedule_id.as_bytes());
    digest.update(nominal_us.to_be_bytes());
    digest.finalize().into()
}
