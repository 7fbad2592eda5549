//! Tables of real clock changes, and what they do to schedules. Each row's times were worked out by hand from the published
//! rules of the zone.

use super::{Timetable, Zone};
use crate::cron::Cron;

fn us(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

fn text(at_us: i64) -> String {
    let at = jiff::Timestamp::from_microsecond(at_us).unwrap();
    at.strftime("%m-%dT%H:%M").to_string()
}

fn timetable(cron: &str, zone: &str) -> Timetable {
    Timetable::new(&Cron::parse(cron).unwrap(), Zone::named(zone).unwrap())
}

fn fires(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
    let table = timetable(cron, zone);
    let mut at_us = us(from) - 1;
    let mut found = Vec::new();
    for _ in 0..count {
        at_us = table.next_after(at_us).unwrap();
        found.push(text(at_us));
    }
    found
}

fn check(cases: &[(&str, &str, &str, &[&str])]) {
    for (cron, zone, from, expected) in cases {
        let found = fires(cron, zone, from, expected.len());
        assert_eq!(found, *expected, "{cron} in {zone} from {from}");
    }
}

#[test]
fn days_of_the_week_count_from_sunday_as_0_and_as_7() {
    // 2026-03-01 is a Sunday.
    check(&[
        (
            "0 0 * * 0",
            "UTC",
            "2026-03-01T00:00:00Z",
            &["03-01T00:00", "03-08T00:00"],
        ),
        (
            "0 0 * * 7",
            "UTC",
            "2026-03-01T00:00:00Z",
            &["03-01T00:00", "03-08T00:00"],
        ),
        (
            "0 0 * * sun",
            "UTC",
            "2026-03-01T00:00:00Z",
            &["03-01T00:00", "03-08T00:00"],
        ),
        (
            "0 0 * * 1",
            "UTC",
            "2026-03-01T00:00:00Z",
            &["03-02T00:00", "03-09T00:00"],
        ),
        (
            "0 0 * * 6",
            "UTC",
            "2026-03-01T00:00:00Z",
            &["03-07T00:00", "03-14T00:00"],
        ),
        (
            "0 0 * * 5-7",
            "UTC",
            "2026-03-02T00:00:00Z",
            &["03-06T00:00", "03-07T00:00", "03-08T00:00", "03-13T00:00"],
        ),
        (
            "0 0 * * */2",
            "UTC",
            "2026-03-01T00:00:00Z",
            &["03-01T00:00", "03-03T00:00", "03-05T00:00", "03-07T00:00"],
        ),
    ]);
}

#[test]
fn a_day_matches_either_of_two_restricted_day_fields() {
    // Friday the 13th of March and of November 2026; the page's classic.
    check(&[
        (
            "0 0 13 * fri",
            "UTC",
            "2026-03-01T00:00:00Z",
            &[
                "03-06T00:00",
                "03-13T00:00",
                "03-20T00:00",
                "03-27T00:00",
                "04-03T00:00",
                "04-10T00:00",
                "04-13T00:00",
            ],
        ),
        (
            "0 0 1-7 * 1",
            "UTC",
            "2026-03-05T00:00:00Z",
            &[
                "03-05T00:00",
                "03-06T00:00",
                "03-07T00:00",
                "03-09T00:00",
                "03-16T00:00",
            ],
        ),
    ]);
}

#[test]
fn a_day_field_that_starts_with_a_star_is_not_restricted() {
    // Odd days that are also Mondays; Mondays that are also days of a stepped week.
    check(&[
        (
            "0 0 */2 * mon",
            "UTC",
            "2026-03-01T00:00:00Z",
            &["03-09T00:00", "03-23T00:00", "04-13T00:00"],
        ),
        (
            "0 0 1,15 * */2",
            "UTC",
            "2026-03-01T00:00:00Z",
            &["03-01T00:00", "03-15T00:00", "08-01T00:00"],
        ),
        (
            "0 0 15 * *",
            "UTC",
            "2026-03-01T00:00:00Z",
            &["03-15T00:00", "04-15T00:00"],
        ),
    ]);
}

#[test]
fn a_fixed_time_inside_a_gap_fires_once_right_after_it() {
    check(&[
        // Berlin 2026-03-29: 02:00 CET is 03:00 CEST, 01:00 UTC.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T00:00:00Z",
            &["03-28T01:30", "03-29T01:00", "03-30T00:30"],
        ),
        // New York 2026-03-08: 02:00 EST is 03:00 EDT, 07:00 UTC.
        (
            "15 2 * * *",
            "America/New_York",
            "2026-03-07T12:00:00Z",
            &["03-08T07:00", "03-09T06:15"],
        ),
        // Adelaide 2026-10-04: 02:00 ACST (+9:30) is 03:00 ACDT, 16:30 UTC the day before.
        (
            "45 2 * * *",
            "Australia/Adelaide",
            "2026-10-02T18:00:00Z",
            &["10-03T16:30", "10-04T16:15"],
        ),
        // Lord Howe 2026-10-04: 02:00 (+10:30) is 02:30 (+11), 15:30 UTC the day before. 02:45 is there.
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-02T18:00:00Z",
            &["10-03T15:30", "10-04T15:15"],
        ),
        (
            "45 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-02T18:00:00Z",
            &["10-03T15:45", "10-04T15:45"],
        ),
        // Santiago 2026-09-06: 00:00 (-4) is 01:00 (-3), 04:00 UTC. Midnight is not there.
        (
            "0 0 * * *",
            "America/Santiago",
            "2026-09-05T00:00:00Z",
            &["09-05T04:00", "09-06T04:00", "09-07T03:00"],
        ),
        // Auckland 2026-09-27: 02:00 (+12) is 03:00 (+13), 14:00 UTC the day before.
        (
            "30 2 * * *",
            "Pacific/Auckland",
            "2026-09-25T20:00:00Z",
            &["09-26T14:00", "09-27T13:30"],
        ),
        // London 2026-03-29: 01:00 GMT is 02:00 BST.
        (
            "30 1 * * *",
            "Europe/London",
            "2026-03-28T12:00:00Z",
            &["03-29T01:00", "03-30T00:30"],
        ),
        // Chatham 2026-09-27: 02:45 (+12:45) is 03:45 (+13:45), 14:00 UTC the day before.
        (
            "0 3 * * *",
            "Pacific/Chatham",
            "2026-09-25T20:00:00Z",
            &["09-26T14:00", "09-27T13:15"],
        ),
        // Kathmandu (+5:45) never sets its clocks.
        (
            "30 2 * * *",
            "Asia/Kathmandu",
            "2026-03-28T00:00:00Z",
            &["03-28T20:45", "03-29T20:45"],
        ),
    ]);
}

#[test]
fn all_times_inside_one_gap_collapse_into_one_fire() {
    check(&[
        (
            "0,15,30,45 2 * * *",
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
            &["03-29T01:00", "03-30T00:00", "03-30T00:15"],
        ),
        // 03:00 is the same moment as the end of the gap.
        (
            "30 2-3 * * *",
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
            &["03-29T01:00", "03-29T01:30", "03-30T00:30"],
        ),
        (
            "0,30 2,3 * * *",
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
            &["03-29T01:00", "03-29T01:30", "03-30T00:00"],
        ),
    ]);
}

#[test]
fn a_fixed_time_inside_an_overlap_fires_at_its_first_occurrence_only() {
    check(&[
        // Berlin 2026-10-25: 03:00 CEST is 02:00 CET, 01:00 UTC. 02:30 is at 00:30 and at 01:30.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T00:00:00Z",
            &["10-24T00:30", "10-25T00:30", "10-26T01:30"],
        ),
        (
            "30 1-3 * * *",
            "Europe/Berlin",
            "2026-10-24T23:00:00Z",
            &["10-24T23:30", "10-25T00:30", "10-25T02:30"],
        ),
        // New York 2026-11-01: 02:00 EDT is 01:00 EST, 06:00 UTC.
        (
            "30 1 * * *",
            "America/New_York",
            "2026-10-31T12:00:00Z",
            &["11-01T05:30", "11-02T06:30"],
        ),
        // Adelaide 2026-04-05: 03:00 ACDT (+10:30) is 02:00 ACST, 16:30 UTC the day before.
        (
            "30 2 * * *",
            "Australia/Adelaide",
            "2026-04-03T20:00:00Z",
            &["04-04T16:00", "04-05T17:00"],
        ),
        // Lord Howe 2026-04-05: 02:00 (+11) is 01:30 (+10:30), 15:00 UTC the day before.
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-03T20:00:00Z",
            &["04-04T14:45", "04-05T15:15"],
        ),
        // Santiago 2026-04-05: 00:00 (-3) is 23:00 (-4) of the 4th, 03:00 UTC.
        (
            "30 23 * * *",
            "America/Santiago",
            "2026-04-04T12:00:00Z",
            &["04-05T02:30", "04-06T03:30"],
        ),
        // Auckland 2026-04-05: 03:00 (+13) is 02:00 (+12), 14:00 UTC the day before.
        (
            "30 2 * * *",
            "Pacific/Auckland",
            "2026-04-03T20:00:00Z",
            &["04-04T13:30", "04-05T14:30"],
        ),
        // Sao Paulo sets no clocks any more.
        (
            "30 0 * * *",
            "America/Sao_Paulo",
            "2026-10-17T12:00:00Z",
            &["10-18T03:30", "10-19T03:30"],
        ),
    ]);
}

#[test]
fn a_wildcard_follows_elapsed_time_through_gap_and_overlap() {
    check(&[
        (
            "0 * * * *",
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
            &["03-29T00:00", "03-29T01:00", "03-29T02:00"],
        ),
        (
            "0 * * * *",
            "Europe/Berlin",
            "2026-10-25T00:00:00Z",
            &["10-25T00:00", "10-25T01:00", "10-25T02:00"],
        ),
        (
            "*/30 2 * * *",
            "Europe/Berlin",
            "2026-10-25T00:00:00Z",
            &[
                "10-25T00:00",
                "10-25T00:30",
                "10-25T01:00",
                "10-25T01:30",
                "10-26T01:00",
            ],
        ),
        // In the gap the wall shows no such time.
        (
            "*/30 2 * * *",
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
            &["03-30T00:00", "03-30T00:30"],
        ),
        (
            "30 * * * *",
            "Australia/Lord_Howe",
            "2026-04-04T14:00:00Z",
            &["04-04T14:30", "04-04T15:00", "04-04T16:00"],
        ),
    ]);
}

#[test]
fn an_expression_that_never_fires_has_no_next_time_and_rare_ones_have() {
    let now_us = us("2026-03-01T00:00:00Z");
    for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 30,31 2 *"] {
        assert_eq!(timetable(never, "UTC").next_after(now_us), None, "{never}");
    }
    // Either day: Mondays in February there are.
    assert!(timetable("0 0 30 2 1", "UTC").next_after(now_us).is_some());
    let leap = timetable("0 0 29 2 *", "UTC");
    assert_eq!(leap.next_after(now_us), Some(us("2028-02-29T00:00:00Z")));
    // A leap day on a Monday in a stepped week: 2044-02-29, 18 years away.
    assert_eq!(
        timetable("0 0 29 2 */7", "UTC").next_after(us("2033-01-01T00:00:00Z")),
        None
    );
}

#[test]
fn zones_are_found_in_any_case_and_spelled_as_the_database_does() {
    for (name, spelled) in [
        ("utc", "UTC"),
        ("europe/berlin", "Europe/Berlin"),
        ("America/New_York", "America/New_York"),
    ] {
        assert_eq!(Zone::named(name).unwrap().name(), spelled);
    }
    for name in [
        "",
        "Mars/Base",
        "+02:00",
        "../etc/passwd",
        "Etc/Unknown",
        "Europe/Berlin ",
    ] {
        assert!(Zone::named(name).is_none(), "{name}");
    }
}

#[test]
fn the_last_of_ten_thousand_missed_times_is_found_without_visiting_them() {
    let table = timetable("*/5 * * * *", "Europe/Berlin");
    let (from_us, until_us) = (us("2026-01-01T00:00:00Z"), us("2026-02-04T17:22:11Z"));
    assert_eq!(
        table.last_between(from_us, until_us),
        Some(us("2026-02-04T17:20:00Z"))
    );
    let yearly = timetable("0-59 3 1 1 *", "UTC");
    let last = yearly.last_between(us("2020-01-01T00:00:00Z"), us("2026-11-30T00:00:00Z"));
    assert_eq!(last, Some(us("2026-01-01T03:59:00Z")));
    assert_eq!(
        yearly.last_between(us("2026-02-01T00:00:00Z"), us("2026-11-30T00:00:00Z")),
        None
    );
    // After is exclusive, until is inclusive.
    let at_us = us("2026-01-01T03:59:00Z");
    assert_eq!(yearly.last_between(at_us, at_us + 1), None);
    assert_eq!(yearly.last_between(at_us - 1, at_us), Some(at_us));
}
