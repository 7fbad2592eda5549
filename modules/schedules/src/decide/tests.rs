//! Tables of decisions. Whole lives of schedules are in `simulation`.

mod simulation;

use uuid::Uuid;

use super::*;
use crate::cron::Cron;
use crate::timetable::{Timetable, Zone};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

fn timing(cron: &str, jitter_seconds: u64) -> Timing {
    let cron = Cron::parse(cron).unwrap();
    Timing {
        schedule_id: Uuid::from_u128(1),
        timetable: Timetable::new(&cron, Zone::named("UTC").unwrap()),
        jitter_seconds,
        starts_at_us: None,
        ends_at_us: None,
    }
}

fn armed(misfire: MisfirePolicy, nominal_us: i64) -> Armed {
    Armed {
        schedule_id: Uuid::from_u128(1),
        misfire,
        next: at(nominal_us),
        computed_at_us: nominal_us - HOUR,
    }
}

fn at(nominal_us: i64) -> Next {
    Next {
        nominal_us,
        due_us: nominal_us,
    }
}

fn record(nominal_us: i64, skipped: bool, next_us: i64) -> Firing {
    let fire = Fire {
        nominal_us,
        skipped,
    };
    Firing::Record(fire, Some(at(next_us)))
}

#[test]
fn a_fire_is_recorded_when_due_and_missed_ones_as_the_policy_says() {
    use MisfirePolicy::{FireOnce, Skip};
    let hourly = timing("0 * * * *", 0);
    let cases = [
        // Policy, due at, now, expected.
        (FireOnce, HOUR, HOUR - 1, Firing::Wait),
        (FireOnce, HOUR, HOUR, record(HOUR, false, 2 * HOUR)),
        (
            FireOnce,
            HOUR,
            HOUR + LATE_US,
            record(HOUR, false, 2 * HOUR),
        ),
        (
            FireOnce,
            HOUR,
            HOUR + LATE_US + 1,
            record(HOUR, false, 2 * HOUR),
        ),
        (
            FireOnce,
            HOUR,
            5 * HOUR + MINUTE,
            record(5 * HOUR, false, 6 * HOUR),
        ),
        (
            FireOnce,
            HOUR,
            90 * HOUR + 30 * MINUTE,
            record(90 * HOUR, false, 91 * HOUR),
        ),
        (Skip, HOUR, HOUR + LATE_US, record(HOUR, false, 2 * HOUR)),
        (Skip, HOUR, HOUR + LATE_US + 1, record(HOUR, true, 2 * HOUR)),
        (
            Skip,
            HOUR,
            5 * HOUR + 2 * MINUTE,
            record(5 * HOUR, true, 6 * HOUR),
        ),
        // The newest is in time.
        (Skip, HOUR, 5 * HOUR + MINUTE, record(HOUR, true, 5 * HOUR)),
    ];
    for (misfire, due_us, now_us, expected) in cases {
        let decided = decide_fire(&hourly, &armed(misfire, due_us), now_us);
        assert_eq!(
            decided, expected,
            "{misfire:?} due at {due_us}, now {now_us}"
        );
    }
}

#[test]
fn two_fires_that_are_both_in_time_are_both_recorded() {
    // With jitter the second may be due before the first was looked at.
    let every_minute = timing("* * * * *", 0);
    let first = decide_fire(
        &every_minute,
        &armed(MisfirePolicy::FireOnce, HOUR),
        HOUR + MINUTE,
    );
    assert_eq!(first, record(HOUR, false, HOUR + MINUTE));
}

#[test]
fn a_clock_that_was_set_back_arms_anew() {
    let hourly = timing("0 * * * *", 0);
    let mut armed = armed(MisfirePolicy::FireOnce, 9 * HOUR);
    armed.computed_at_us = 8 * HOUR;
    let decided = decide_fire(&hourly, &armed, 5 * HOUR + 1);
    assert_eq!(decided, Firing::Rearm(Some(at(6 * HOUR))));
    // What is due is recorded first, whatever the clock was.
    armed.computed_at_us = 20 * HOUR;
    assert_eq!(
        decide_fire(&hourly, &armed, 9 * HOUR),
        record(9 * HOUR, false, 10 * HOUR)
    );
}

#[test]
fn an_end_is_an_end() {
    let mut hourly = timing("0 * * * *", 0);
    hourly.ends_at_us = Some(3 * HOUR);
    let decided = decide_fire(&hourly, &armed(MisfirePolicy::FireOnce, HOUR), 50 * HOUR);
    let fire = Fire {
        nominal_us: 2 * HOUR,
        skipped: false,
    };
    assert_eq!(decided, Firing::Record(fire, None));
    hourly.starts_at_us = Some(2 * HOUR);
    assert_eq!(hourly.next_after(0), Some(at(2 * HOUR)));
    assert_eq!(hourly.next_after(2 * HOUR), None);
}

#[test]
fn jitter_is_fixed_below_its_width_and_below_the_interval() {
    for width in [1, 30, 600, 86_400] {
        let table = timing("*/10 * * * *", width);
        let mut at_us = 0;
        let mut spread = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let next = table.next_after(at_us).unwrap();
            assert_eq!(table.next_after(at_us), Some(next));
            let jitter_us = next.due_us - next.nominal_us;
            let widest_us = (i64::try_from(width).unwrap() * SECOND).min(10 * MINUTE);
            assert!(
                (0..widest_us).contains(&jitter_us),
                "{jitter_us} of {width}"
            );
            spread.insert(jitter_us / SECOND);
            at_us = next.nominal_us;
        }
        assert!(width == 1 || spread.len() > 20, "{width}: {spread:?}");
    }
}

#[test]
fn the_last_due_fire_respects_jitter() {
    let table = timing("*/10 * * * *", 600);
    let first = table.next_after(0).unwrap();
    let mut at_us = first.nominal_us;
    for _ in 0..50 {
        let next = table.next_after(at_us).unwrap();
        let before = table.last_due(first, next.due_us - 1);
        assert_eq!(before.nominal_us, at_us);
        assert_eq!(table.last_due(first, next.due_us), next);
        at_us = next.nominal_us;
    }
}

#[test]
fn an_operations_id_is_that_of_its_pair_and_of_no_other() {
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let id = operation_id(one, HOUR);
    assert_eq!(id, operation_id(one, HOUR));
    assert_ne!(id, operation_id(other, HOUR));
    assert_ne!(id, operation_id(one, HOUR + 1));
    assert_eq!(id.get_version_num(), 7);
}

#[test]
fn a_run_is_decided_in_this_order() {
    let open = [Uuid::from_u128(9)];
    let facts = |overlap| LaunchFacts {
        operation: None,
        is_module_away: false,
        launching: false,
        unlicensed: None,
        may_launch: true,
        overlap,
        open: &open,
    };
    let launch = |cancel: &[Uuid]| LaunchStep::Launch {
        cancel: cancel.to_vec(),
    };
    let end = LaunchStep::End;
    let revoked = || end(RunEnd::FailedToLaunch("owner_revoked".to_owned()));
    use OverlapPolicy::{Allow, Forbid, Replace};
    let cases = [
        (facts(Forbid), end(RunEnd::SkippedOverlap)),
        (facts(Allow), launch(&[])),
        (facts(Replace), launch(&open)),
        (
            LaunchFacts {
                open: &[],
                ..facts(Forbid)
            },
            launch(&[]),
        ),
        (
            LaunchFacts {
                open: &[],
                ..facts(Replace)
            },
            launch(&[]),
        ),
        // It was decided when nothing went on.
        (
            LaunchFacts {
                launching: true,
                ..facts(Forbid)
            },
            launch(&[]),
        ),
        (
            LaunchFacts {
                may_launch: false,
                ..facts(Allow)
            },
            revoked(),
        ),
        (
            LaunchFacts {
                may_launch: false,
                launching: true,
                ..facts(Allow)
            },
            revoked(),
        ),
        (
            LaunchFacts {
                may_launch: false,
                unlicensed: Some("license_expired"),
                ..facts(Forbid)
            },
            end(RunEnd::SkippedUnlicensed("license_expired".to_owned())),
        ),
        // It may be there: to say that it launched nothing would be a guess.
        (
            LaunchFacts {
                is_module_away: true,
                may_launch: false,
                launching: true,
                ..facts(Allow)
            },
            LaunchStep::Wait,
        ),
        (
            LaunchFacts {
                is_module_away: true,
                unlicensed: Some("license_expired"),
                launching: true,
                ..facts(Allow)
            },
            LaunchStep::Wait,
        ),
        // It is not: nobody has asked for it yet.
        (
            LaunchFacts {
                is_module_away: true,
                may_launch: false,
                ..facts(Allow)
            },
            revoked(),
        ),
        // It is there: nothing else matters.
        (
            LaunchFacts {
                operation: Some(OperationStatus::Running),
                may_launch: false,
                unlicensed: Some("license_expired"),
                ..facts(Forbid)
            },
            LaunchStep::Adopt(OperationStatus::Running),
        ),
    ];
    for (facts, expected) in cases {
        assert_eq!(decide_launch(&facts), expected, "{facts:?}");
    }
}

#[test]
fn statuses_have_names_that_lead_back() {
    for status in OperationStatus::ALL {
        assert_eq!(OperationStatus::from_name(status.as_str()), Some(status));
    }
    assert_eq!(OperationStatus::from_name("halting"), None);
    assert_eq!(
        OperationStatus::ALL
            .iter()
            .filter(|status| status.is_terminal())
            .count(),
        6
    );
}
