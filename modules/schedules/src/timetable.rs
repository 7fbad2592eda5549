//! When an expression fires in a time zone. Pure: the zones are those compiled in, whatever the machine has.
//!
//! Where clocks are set: an expression with a fixed minute and hour names times of the day, so one inside the spring gap
//! fires right after it (all of one gap together, once) and one inside the autumn overlap at its first occurrence. One
//! whose minute or hour is a wildcard follows elapsed time: it fires whenever the clock on the wall shows such a time.

use std::sync::LazyLock;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

use crate::cron::{Cron, WallTimes};

/// An expression that does not fire for so long never does: leap days are at most eight years apart.
const HORIZON_DAYS: i64 = 8 * 366;
const SECOND: SignedDuration = SignedDuration::from_secs(1);
const DAY_US: i64 = 24 * 3_600 * 1_000_000;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A time zone of the IANA database.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone(TimeZone);

impl Zone {
    /// In any case; none for a name that is none.
    pub fn named(name: &str) -> Option<Self> {
        let zone = ZONES.get(name).ok()?;
        (!zone.is_unknown()).then_some(Self(zone))
    }

    /// As the database spells it.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The moment a wall time is meant to be: in a gap right after it, in an overlap the first of the two.
    fn instant(&self, wall: DateTime) -> Option<Timestamp> {
        match self.0.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall).ok(),
            AmbiguousOffset::Gap { after, .. } => {
                let within = after.to_timestamp(wall).ok()?;
                self.next_change(within)
            }
        }
    }

    /// When the clocks are next set, exclusive.
    fn next_change(&self, after: Timestamp) -> Option<Timestamp> {
        let change = self.0.following(after).next();
        change.map(|change| change.timestamp())
    }
}

/// UTC.
impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

/// An expression in a zone.
#[derive(Clone, Debug)]
pub struct Timetable {
    walls: WallTimes,
    follows_elapsed_time: bool,
    zone: Zone,
}

impl Timetable {
    pub fn new(cron: &Cron, zone: Zone) -> Self {
        Self {
            walls: WallTimes::of(cron),
            follows_elapsed_time: cron.follows_elapsed_time(),
            zone,
        }
    }

    /// The first time after `after_us`, exclusive; none within eight years: it never fires.
    pub fn next_after(&self, after_us: i64) -> Option<i64> {
        let after = Timestamp::from_microsecond(after_us).ok()?;
        let next = if self.follows_elapsed_time {
            self.elapsed_after(after)
        } else {
            self.of_the_day_after(after)
        };
        next.map(Timestamp::as_microsecond)
            .filter(|next_us| next_us - after_us <= HORIZON_DAYS * DAY_US)
    }

    /// The last time that is after `after_us` and not after `until_us`. Takes a time that does not grow with the number of
    /// times between, however long that is.
    pub fn last_between(&self, after_us: i64, until_us: i64) -> Option<i64> {
        let mut span_us = 60 * 1_000_000;
        loop {
            let from_us = after_us.max(until_us.saturating_sub(span_us));
            if let Some(found_us) = self.within(from_us, until_us) {
                return Some(self.last_of(found_us, until_us));
            }
            if from_us == after_us {
                return None;
            }
            span_us = span_us.saturating_mul(2);
        }
    }

    fn within(&self, after_us: i64, until_us: i64) -> Option<i64> {
        self.next_after(after_us).filter(|at_us| *at_us <= until_us)
    }

    /// From one time on, halving what is left.
    fn last_of(&self, mut found_us: i64, until_us: i64) -> i64 {
        let mut empty_from_us = until_us;
        while found_us < empty_from_us {
            let middle_us = found_us + (empty_from_us - found_us) / 2;
            match self.within(middle_us, until_us) {
                Some(later_us) => found_us = later_us,
                None => empty_from_us = middle_us,
            }
        }
        found_us
    }

    fn of_the_day_after(&self, after: Timestamp) -> Option<Timestamp> {
        let mut wall = self.zone.0.to_datetime(after);
        loop {
            wall = self.walls.after(wall)?;
            let at = self.zone.instant(wall)?;
            // The second pass of an overlap, or the rest of a gap.
            if at > after {
                return Some(at);
            }
        }
    }

    fn elapsed_after(&self, after: Timestamp) -> Option<Timestamp> {
        let mut from = after;
        let mut offset = self.zone.0.to_offset(from);
        let mut wall = offset.to_datetime(from);
        loop {
            let at = offset.to_timestamp(self.walls.after(wall)?).ok()?;
            let change = match self.zone.next_change(from) {
                Some(change) if at >= change => change,
                Some(_) | None => return Some(at),
            };
            // From the change on, its own moment included, other wall times are shown.
            from = change;
            offset = self.zone.0.to_offset(change);
            wall = offset.to_datetime(change).checked_sub(SECOND).ok()?;
        }
    }
}

#[cfg(test)]
mod tests;
