//! The one list of the server's background loops: what each is called, how often it runs, and when it last did. Whoever
//! runs a loop takes its place here; `/metrics` and `/readyz` read the list. Ages are counted on the clock that no
//! person and no time service can step.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use crate::clock::SharedClock;

/// A loop that should have run this many times since it last did is late.
const PERIODS_MISSED: u32 = 5;
/// And no loop is late before this, nor one that waits for work before it has been busy for so long: a database that is
/// slow for some seconds is no reason to take requests elsewhere.
const LATE_AFTER_MIN: Duration = Duration::from_secs(30);

/// Every loop that runs as long as the server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    /// Stores who is online, as it changes.
    Presence,
    /// Stores when hosts were last seen.
    LastSeen,
    /// Tells modules that heartbeats came.
    Capacity,
    /// Takes hosts offline that have been silent for too long.
    HostSilence,
    /// Cuts connections that have been silent for too long.
    LinkSilence,
    /// Keeps the agent port's certificate young.
    Certificate,
    /// Looks at the licence and at the clock.
    Licence,
    /// Looks into the modules folder.
    ModuleScan,
    /// Looks for modules that are stuck.
    ModuleWatchdog,
    /// Ends commands and sets whose time is over.
    Deadlines,
    /// Sends commands to whom can take them.
    Dispatcher,
    /// Stores what agents say of commands.
    Reports,
    /// Tells followers which sets have changed.
    Notices,
    /// Deletes what has been kept long enough.
    Retention,
    /// Removes uploaded content that nothing refers to.
    Blobs,
    /// Signs the newest row of the audit log.
    AuditHead,
    /// Writes down how many sign-ins were refused.
    Attempts,
    /// Stores when API tokens were last used.
    TokenUse,
    /// Folds histograms together.
    Metrics,
}

const EVERY_LOOP: [Loop; 19] = [
    Loop::Presence,
    Loop::LastSeen,
    Loop::Capacity,
    Loop::HostSilence,
    Loop::LinkSilence,
    Loop::Certificate,
    Loop::Licence,
    Loop::ModuleScan,
    Loop::ModuleWatchdog,
    Loop::Deadlines,
    Loop::Dispatcher,
    Loop::Reports,
    Loop::Notices,
    Loop::Retention,
    Loop::Blobs,
    Loop::AuditHead,
    Loop::Attempts,
    Loop::TokenUse,
    Loop::Metrics,
];

impl Loop {
    pub fn name(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::LastSeen => "last_seen",
            Self::Capacity => "capacity",
            Self::HostSilence => "host_silence",
            Self::LinkSilence => "link_silence",
            Self::Certificate => "certificate",
            Self::Licence => "licence",
            Self::ModuleScan => "module_scan",
            Self::ModuleWatchdog => "module_watchdog",
            Self::Deadlines => "deadlines",
            Self::Dispatcher => "dispatcher",
            Self::Reports => "reports",
            Self::Notices => "notices",
            Self::Retention => "retention",
            Self::Blobs => "blobs",
            Self::AuditHead => "audit_head",
            Self::Attempts => "attempts",
            Self::TokenUse => "token_use",
            Self::Metrics => "metrics",
        }
    }

    /// Between two runs; `None` if it runs when there is something to do, and only then.
    pub fn period(self) -> Option<Duration> {
        let seconds = match self {
            Self::Presence | Self::Capacity | Self::Reports | Self::Notices => return None,
            // How soon a dropped file, an expiry or a module that hangs is noticed.
            Self::Licence | Self::ModuleScan | Self::ModuleWatchdog => 1,
            // Deadlines are minutes long; and how soon hosts whose rest is over are looked for.
            Self::Deadlines | Self::Dispatcher => 1,
            // Adds that much at most to how long a host or a link may be silent.
            Self::HostSilence | Self::LinkSilence => 2,
            // As the Prometheus exporter recommends for histograms.
            Self::Metrics => 5,
            // Last-seen times may be this old after a crash; the API says `last_used_at` is to the minute.
            Self::LastSeen | Self::TokenUse | Self::Attempts => 60,
            // Everything kept is kept for a day at least, so a quarter of an hour is soon enough.
            Self::Retention => 15 * 60,
            // The certificate lives for months, and content is kept for days. What is done to the audit log from outside
            // shows against the last head.
            Self::Certificate | Self::Blobs | Self::AuditHead => 3_600,
        };
        Some(Duration::from_secs(seconds))
    }

    /// Without it commands do not reach hosts or their results are not kept: a server that has lost it should be sent
    /// no requests.
    pub fn is_essential(self) -> bool {
        match self {
            Self::Presence | Self::Deadlines | Self::Dispatcher | Self::Reports => true,
            Self::LastSeen
            | Self::Capacity
            | Self::HostSilence
            | Self::LinkSilence
            | Self::Certificate
            | Self::Licence
            | Self::ModuleScan
            | Self::ModuleWatchdog
            | Self::Notices
            | Self::Retention
            | Self::Blobs
            | Self::AuditHead
            | Self::Attempts
            | Self::TokenUse
            | Self::Metrics => false,
        }
    }

    fn late_after_us(self) -> i64 {
        let periods = self.period().map(|period| period * PERIODS_MISSED);
        let after = periods.unwrap_or_default().max(LATE_AFTER_MIN);
        i64::try_from(after.as_micros()).unwrap_or(i64::MAX)
    }
}

/// The list; cheap to clone.
#[derive(Clone)]
pub struct Loops {
    inner: Arc<LoopTable>,
}

struct LoopTable {
    clock: SharedClock,
    made_us: i64,
    seats: [Mutex<Seat>; EVERY_LOOP.len()],
}

/// Times are monotonic.
#[derive(Clone, Copy, Debug, Default)]
struct Seat {
    taken: bool,
    left: bool,
    busy_since_us: Option<i64>,
    ended_us: Option<i64>,
    runs: u64,
}

/// How a loop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Not begun yet.
    Absent,
    Fine,
    /// It has not run for several periods, or is busy with one run for as long.
    Late,
    /// Its task has ended, and the server has not.
    Ended,
}

impl Condition {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Fine => "fine",
            Self::Late => "late",
            Self::Ended => "ended",
        }
    }
}

/// What is known of a loop at a time.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub which: Loop,
    pub runs: u64,
    /// Since its last run ended; `None` before the first one has.
    pub age: Option<Duration>,
    pub condition: Condition,
}

impl Seen {
    pub fn lets_serve(&self) -> bool {
        match self.condition {
            Condition::Absent | Condition::Fine => true,
            Condition::Late | Condition::Ended => !self.which.is_essential(),
        }
    }
}

impl Loops {
    pub fn new(clock: SharedClock) -> Self {
        let made_us = clock.monotonic_us();
        let seats = std::array::from_fn(|_| Mutex::default());
        Self {
            inner: Arc::new(LoopTable {
                clock,
                made_us,
                seats,
            }),
        }
    }

    /// Takes the loop's place, as long as what is returned lives.
    pub fn take(&self, which: Loop) -> Place {
        let loops = self.clone();
        *loops.seat(which) = Seat {
            taken: true,
            ..Seat::default()
        };
        Place { loops, which }
    }

    /// All of them, in the order of the list.
    pub fn look(&self) -> Vec<Seen> {
        let now_us = self.inner.clock.monotonic_us();
        EVERY_LOOP
            .into_iter()
            .map(|which| {
                let seat = *self.seat(which);
                let age_us = seat.ended_us.map(|ended_us| (now_us - ended_us).max(0));
                Seen {
                    which,
                    runs: seat.runs,
                    age: age_us.map(|age_us| Duration::from_micros(age_us.unsigned_abs())),
                    condition: self.judge(which, seat, now_us),
                }
            })
            .collect()
    }

    fn judge(&self, which: Loop, seat: Seat, now_us: i64) -> Condition {
        let waits_since_us = match which.period() {
            Some(_) => Some(seat.ended_us.unwrap_or(self.inner.made_us)),
            None => seat.busy_since_us,
        };
        let is_late = waits_since_us.is_some_and(|since| now_us - since > which.late_after_us());
        match (seat.taken, seat.left) {
            (_, true) => Condition::Ended,
            // Only for an essential one does it matter that nobody has come.
            (false, false) if !(is_late && which.is_essential()) => Condition::Absent,
            (_, false) if is_late => Condition::Late,
            (_, false) => Condition::Fine,
        }
    }

    /// Nothing panics while it holds the lock.
    fn seat(&self, which: Loop) -> MutexGuard<'_, Seat> {
        let index = EVERY_LOOP.iter().position(|one| *one == which);
        // The list has every loop; a test holds it to that.
        let seat = self.inner.seats.get(index.unwrap_or_default());
        let seat = seat.unwrap_or_else(|| unreachable!("one seat for each in the list"));
        seat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A loop's place in the list. The loop has ended when this is dropped.
pub struct Place {
    loops: Loops,
    which: Loop,
}

impl Place {
    /// One run begins; it ends when what is returned is dropped.
    pub fn begin(&self) -> Run<'_> {
        let now_us = self.loops.inner.clock.monotonic_us();
        self.loops.seat(self.which).busy_since_us = Some(now_us);
        Run { place: self }
    }

    /// When to run. A run that takes long puts off the ones after it instead of being followed by all at once.
    pub fn ticks(&self) -> Interval {
        let period = self.which.period().unwrap_or(LATE_AFTER_MIN);
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    }

    /// Runs at once and then once a period, for ever.
    pub async fn every<F: Future<Output = ()>>(self, mut work: impl FnMut() -> F) {
        let mut ticks = self.ticks();
        loop {
            ticks.tick().await;
            let _run = self.begin();
            work().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.loops.seat(self.which).left = true;
    }
}

/// One run of a loop.
pub struct Run<'a> {
    place: &'a Place,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let loops = &self.place.loops;
        let now_us = loops.inner.clock.monotonic_us();
        let mut seat = loops.seat(self.place.which);
        seat.busy_since_us = None;
        seat.ended_us = Some(now_us);
        seat.runs = seat.runs.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn condition(loops: &Loops, which: Loop) -> Condition {
        let seen = loops.look().into_iter().find(|seen| seen.which == which);
        seen.expect("it is in the list").condition
    }

    #[test]
    fn names_are_unique_and_in_the_list_once() {
        let names: std::collections::BTreeSet<_> =
            EVERY_LOOP.iter().map(|one| one.name()).collect();
        assert_eq!(names.len(), EVERY_LOOP.len());
    }

    #[test]
    fn a_loop_with_a_period_is_late_after_several_and_fine_after_its_next_run() {
        let clock = ManualClock::at(1_000_000);
        let loops = Loops::new(clock.clone());
        let place = loops.take(Loop::Retention);
        drop(place.begin());
        clock.advance(Duration::from_secs(5 * 15 * 60));
        assert_eq!(condition(&loops, Loop::Retention), Condition::Fine);
        clock.advance(Duration::from_secs(1));
        assert_eq!(condition(&loops, Loop::Retention), Condition::Late);
        drop(place.begin());
        assert_eq!(condition(&loops, Loop::Retention), Condition::Fine);
    }

    #[test]
    fn a_loop_that_waits_for_work_is_late_only_while_it_is_busy_for_too_long() {
        let clock = ManualClock::at(1_000_000);
        let loops = Loops::new(clock.clone());
        let place = loops.take(Loop::Reports);
        clock.advance(Duration::from_secs(86_400));
        assert_eq!(condition(&loops, Loop::Reports), Condition::Fine);
        let run = place.begin();
        clock.advance(Duration::from_secs(31));
        assert_eq!(condition(&loops, Loop::Reports), Condition::Late);
        drop(run);
        assert_eq!(condition(&loops, Loop::Reports), Condition::Fine);
    }

    #[test]
    fn a_loop_whose_task_is_gone_has_ended() {
        let loops = Loops::new(ManualClock::at(0));
        drop(loops.take(Loop::Dispatcher));
        assert_eq!(condition(&loops, Loop::Dispatcher), Condition::Ended);
        let seen = loops.look();
        assert_eq!(seen.iter().filter(|seen| !seen.lets_serve()).count(), 1);
    }

    #[test]
    fn what_never_began_matters_only_if_it_is_essential() {
        let clock = ManualClock::at(0);
        let loops = Loops::new(clock.clone());
        assert!(loops.look().iter().all(Seen::lets_serve));
        clock.advance(Duration::from_secs(31));
        let missing: Vec<_> = loops
            .look()
            .into_iter()
            .filter(|seen| !seen.lets_serve())
            .map(|seen| seen.which)
            .collect();
        assert_eq!(missing, [Loop::Deadlines, Loop::Dispatcher]);
    }
}
