//! What a schedule does now: which fire to record, when the next one is, and what becomes of a recorded run. Pure: the same
//! answers at any time, twice, or after a crash at any step. Not the launched operation, which is another module's.

mod launch;
mod timing;

pub use fleetwright_operations::status::OperationStatus;
pub use launch::{LaunchFacts, LaunchStep, RunEnd, decide_launch};
pub use timing::{Next, Timing, operation_id};

use uuid::Uuid;

/// A fire that is later than this is a misfire.
pub const LATE_US: i64 = 60 * 1_000_000;

/// Whether a fire may launch while an earlier run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverlapPolicy {
    Forbid,
    Allow,
    Replace,
}

/// What becomes of fires that could not be recorded in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MisfirePolicy {
    /// One run for all of them.
    FireOnce,
    Skip,
}

/// What a schedule launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Bulk,
    Rolling,
}

/// What makes a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Cron,
    Manual,
}

/// A schedule with a next fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    pub schedule_id: Uuid,
    pub misfire: MisfirePolicy,
    pub next: Next,
    /// When `next` was computed.
    pub computed_at_us: i64,
}

/// A fire to record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fire {
    pub nominal_us: i64,
    /// Recorded, and nothing is launched: it was missed.
    pub skipped: bool,
}

/// What is to be done about a schedule's next fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firing {
    /// It is not due.
    Wait,
    /// The clock was set back: the next fire is another. What has fired already is not recorded again.
    Rearm(Option<Next>),
    /// Record one fire (if it is not recorded yet) and go on with the next.
    Record(Fire, Option<Next>),
}

/// Decides about the next fire. Called with every schedule that is due, or that was computed by a clock ahead of this one.
pub fn decide_fire(timing: &Timing, armed: &Armed, now_us: i64) -> Firing {
    let next = armed.next;
    if next.due_us > now_us {
        return if now_us < armed.computed_at_us {
            Firing::Rearm(timing.next_after(now_us))
        } else {
            Firing::Wait
        };
    }
    let is_late = |fire: Next| now_us - fire.due_us > LATE_US;
    let record = |nominal_us: i64, skipped: bool, next: Option<Next>| {
        let fire = Fire {
            nominal_us,
            skipped,
        };
        Firing::Record(fire, next)
    };
    if !is_late(next) {
        return record(next.nominal_us, false, timing.next_after(next.nominal_us));
    }
    let last = timing.last_due(next, now_us);
    match armed.misfire {
        MisfirePolicy::FireOnce => {
            record(last.nominal_us, false, timing.next_after(last.nominal_us))
        }
        // The newest is in time: only those before it were missed.
        MisfirePolicy::Skip if !is_late(last) => record(next.nominal_us, true, Some(last)),
        MisfirePolicy::Skip => record(last.nominal_us, true, timing.next_after(last.nominal_us)),
    }
}

impl OverlapPolicy {
    pub const ALL: [Self; 3] = [Self::Forbid, Self::Allow, Self::Replace];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forbid => "forbid",
            Self::Allow => "allow",
            Self::Replace => "replace",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == name)
    }
}

impl MisfirePolicy {
    pub const ALL: [Self; 2] = [Self::FireOnce, Self::Skip];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::FireOnce => "fire_once",
            Self::Skip => "skip",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == name)
    }
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Bulk, Self::Rolling];

    /// Also the name of the module that runs it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Rolling => "rolling",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    pub fn feature(self) -> &'static str {
        match self {
            Self::Bulk => "fleet_bulk_operations",
            Self::Rolling => "fleet_rolling_deployments",
        }
    }

    /// The route a person would launch it with.
    pub fn path(self) -> &'static str {
        match self {
            Self::Bulk => "/api/v1/fleet/bulk",
            Self::Rolling => "/api/v1/fleet/rolling",
        }
    }
}

impl Cause {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cron => "cron",
            Self::Manual => "manual",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Cron, Self::Manual]
            .into_iter()
            .find(|cause| cause.as_str() == name)
    }
}

#[cfg(test)]
mod tests;
