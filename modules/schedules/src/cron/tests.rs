//! What is an expression and what is not.

use super::{Cron, CronError};

fn values(text: &str) -> [Vec<u32>; 5] {
    let cron = Cron::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    [
        &cron.minutes,
        &cron.hours,
        &cron.days,
        &cron.months,
        &cron.weekdays,
    ]
    .map(|field| field.values().collect())
}

#[test]
fn fields_are_lists_of_values_ranges_and_steps() {
    let cases: [(&str, usize, &[u32]); 16] = [
        ("5 * * * *", 0, &[5]),
        ("05,1,59 * * * *", 0, &[1, 5, 59]),
        ("10-13 * * * *", 0, &[10, 11, 12, 13]),
        ("10-20/4 * * * *", 0, &[10, 14, 18]),
        ("*/20 * * * *", 0, &[0, 20, 40]),
        ("*/100 * * * *", 0, &[0]),
        ("1,30-32,*/45 * * * *", 0, &[0, 1, 30, 31, 32, 45]),
        ("0 */9 * * *", 1, &[0, 9, 18]),
        ("0 0 */10 * *", 2, &[1, 11, 21, 31]),
        ("0 0 1 feb-Apr,DEC *", 3, &[2, 3, 4, 12]),
        ("0 0 * * mon,Wed-FRI", 4, &[1, 3, 4, 5]),
        ("0 0 * * 5-7", 4, &[5, 6, 7]),
        ("0 0 * * sun-tue", 4, &[0, 1, 2]),
        ("0 0 * * 7", 4, &[7]),
        ("\t0  0 \t* * 0 ", 4, &[0]),
        ("7-7 * * * *", 0, &[7]),
    ];
    for (text, field, expected) in cases {
        assert_eq!(values(text)[field], expected, "{text}");
    }
}

#[test]
fn nicknames_stand_for_expressions() {
    let cases = [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@weekly", "0 0 * * sun"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 jan *"),
    ];
    for (name, meaning) in cases {
        assert_eq!(Cron::parse(name), Cron::parse(meaning), "{name}");
    }
}

#[test]
fn anything_else_is_refused_at_its_field() {
    let cases = [
        (1, "60 * * * *"),
        (1, "61 * * * *"),
        (1, "-1 * * * *"),
        (1, "*/0 * * * *"),
        (1, "5-1 * * * *"),
        (1, "5/15 * * * *"),
        (1, "*/ * * * *"),
        (1, "/5 * * * *"),
        (1, ", * * * *"),
        (1, "1,,2 * * * *"),
        (1, "1- * * * *"),
        (1, "-5 * * * *"),
        (1, "1-2-3 * * * *"),
        (1, "+5 * * * *"),
        (1, "1.5 * * * *"),
        (1, "?  * * * *"),
        (1, "** * * * *"),
        (1, "*-5 * * * *"),
        (1, "*/5/5 * * * *"),
        (1, "jan * * * *"),
        (1, "00005 * * * *"),
        (1, "٣ * * * *"),
        (1, "1\u{a0}2 * * * *"),
        (1, "*/99999 * * * *"),
        (2, "0 24 * * *"),
        (2, "0 mon * * *"),
        (2, "0 22-3 * * *"),
        (3, "0 0 0 * *"),
        (3, "0 0 32 * *"),
        (3, "0 0 L * *"),
        (3, "0 0 1W * *"),
        (3, "0 0 1-0 * *"),
        (4, "0 0 1 0 *"),
        (4, "0 0 1 13 *"),
        (4, "0 0 1 janu *"),
        (4, "0 0 1 mon *"),
        (4, "0 0 1 dec-jan *"),
        (5, "0 0 * * 8"),
        (5, "0 0 * * 1#2"),
        (5, "0 0 * * 5L"),
        (5, "0 0 * * sunday"),
        (5, "0 0 * * fri-sun"),
        (5, "0 0 * * *\n"),
    ];
    for (expected, text) in cases {
        match Cron::parse(text) {
            Err(CronError::Field { position, .. }) => assert_eq!(position, expected, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn what_has_no_five_fields_is_refused() {
    let cases = [
        ("", 0),
        ("   ", 0),
        ("* * * *", 4),
        ("* * * * * *", 6),
        ("0 0 0 * * * 2026", 7),
    ];
    for (text, count) in cases {
        assert_eq!(
            Cron::parse(text),
            Err(CronError::FieldCount(count)),
            "{text}"
        );
    }
    for text in [
        "@reboot",
        "@midnight",
        "@annually",
        "@every 5m",
        "@HOURLY",
        "@",
    ] {
        assert!(
            matches!(Cron::parse(text), Err(CronError::UnknownNickname(_))),
            "{text}"
        );
    }
    let long = format!("{} * * * *", "1,".repeat(600));
    assert_eq!(Cron::parse(&long), Err(CronError::TooLong));
}

#[test]
fn an_error_says_where_and_repeats_no_control_character() {
    let error = Cron::parse("0 0 * * x\u{7}y").unwrap_err();
    assert_eq!(
        error.to_string(),
        "field 5 (day of week): `xy` is not a value of this field"
    );
    let long = format!("0 0 * * {}", "z".repeat(300));
    assert!(Cron::parse(&long).unwrap_err().to_string().len() < 120);
}

#[test]
fn a_star_in_minute_or_hour_follows_elapsed_time() {
    let cases = [
        ("0 * * * *", true),
        ("*/5 3 * * *", true),
        ("0 */2 * * *", true),
        ("30 2 * * *", false),
        ("0-59 0-23 * * *", false),
        ("30 2 */2 * *", false),
        ("5,* 3 * * *", false),
    ];
    for (text, expected) in cases {
        assert_eq!(
            Cron::parse(text).unwrap().follows_elapsed_time(),
            expected,
            "{text}"
        );
    }
}
