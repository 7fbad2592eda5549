//! The adapter onto the crate `cron`, which searches the calendar. That crate numbers days of the week from 1 = Sunday, wants
//! both day fields to match, and has its own views of time zones: so it is given explicit lists, one or two of them, and
//! asked in a calendar without zones (UTC).

use std::str::FromStr as _;

use chrono::{DateTime as ChronoDateTime, Utc};
use cron::Schedule;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::Cron;
use super::field::Field;

/// The wall times an expression names.
#[derive(Clone, Debug)]
pub struct WallTimes {
    /// Two where a day may match either day field.
    alternatives: Vec<Schedule>,
}

impl WallTimes {
    pub fn of(cron: &Cron) -> Self {
        let mapped: Vec<u32> = cron.weekdays.values().map(|day| day % 7 + 1).collect();
        let (days, weekdays) = (list(&cron.days), texts(mapped.into_iter()));
        let expressions = if cron.either_day() {
            vec![
                expression(cron, &days, "*"),
                expression(cron, "*", &weekdays),
            ]
        } else {
            vec![expression(cron, &days, &weekdays)]
        };
        // Lists of values in range are always valid; an alternative that were not would name no time.
        let alternatives = expressions
            .iter()
            .filter_map(|text| Schedule::from_str(text).ok())
            .collect();
        Self { alternatives }
    }

    /// The first wall time after this one; none if the calendar has none before the year 2100.
    pub fn after(&self, wall: DateTime) -> Option<DateTime> {
        let seconds = Offset::UTC.to_timestamp(wall).ok()?.as_second();
        let from = ChronoDateTime::<Utc>::from_timestamp(seconds, 0)?;
        let next = self
            .alternatives
            .iter()
            .filter_map(|schedule| schedule.after(&from).next())
            .min()?;
        let next = jiff::Timestamp::from_second(next.timestamp()).ok()?;
        Some(Offset::UTC.to_datetime(next))
    }
}

fn expression(cron: &Cron, days: &str, weekdays: &str) -> String {
    let (minutes, hours, months) = (list(&cron.minutes), list(&cron.hours), list(&cron.months));
    format!("0 {minutes} {hours} {days} {months} {weekdays}")
}

fn list(field: &Field) -> String {
    texts(field.values())
}

fn texts(values: impl Iterator<Item = u32>) -> String {
    let texts: Vec<String> = values.map(|value| value.to_string()).collect();
    texts.join(",")
}
