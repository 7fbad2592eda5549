//! Cron expressions of five fields, as in crontab(5): what is accepted, and which dates and times of the day they name.
//! Pure, and without time zones: those are `timetable`'s.

mod field;
mod walltime;

use field::{Field, Range};
pub use walltime::WallTimes;

/// An expression whose every field lists each value is shorter than this.
const CHARS_MAX: usize = 1_024;

/// The nicknames and what they stand for.
const NICKNAMES: [(&str, &str); 5] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
];

const MINUTE: Range = Range::of("minute", 0, 59, &[]);
const HOUR: Range = Range::of("hour", 0, 23, &[]);
const DAY: Range = Range::of("day of month", 1, 31, &[]);
const MONTH: Range = Range::of(
    "month",
    1,
    12,
    &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
);
/// 0 and 7 are Sunday.
const WEEKDAY: Range = Range::of(
    "day of week",
    0,
    7,
    &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
);

/// A valid expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
}

/// What is wrong with an expression, and in which of its fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    #[error(
        "an expression has five fields or is one of @hourly, @daily, @weekly, @monthly, @yearly; this has {0}"
    )]
    FieldCount(usize),
    #[error("there is no `{0}`; known are @hourly, @daily, @weekly, @monthly, @yearly")]
    UnknownNickname(String),
    #[error("at most {CHARS_MAX} characters are allowed")]
    TooLong,
    #[error("field {position} ({name}): {detail}")]
    Field {
        /// From 1.
        position: usize,
        name: &'static str,
        detail: String,
    },
}

impl Cron {
    pub fn parse(text: &str) -> Result<Self, CronError> {
        if text.len() > CHARS_MAX {
            return Err(CronError::TooLong);
        }
        let text = text.trim_matches([' ', '\t']);
        let text = match NICKNAMES.iter().find(|(name, _)| *name == text) {
            Some((_, meaning)) => meaning,
            None if text.starts_with('@') => {
                return Err(CronError::UnknownNickname(field::shown(text)));
            }
            None => text,
        };
        let fields: Vec<&str> = text
            .split([' ', '\t'])
            .filter(|field| !field.is_empty())
            .collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return Err(CronError::FieldCount(fields.len()));
        };
        let read = |position: usize, range: Range, text: &str| {
            let name = range.name;
            Field::parse(range, text).map_err(|detail| CronError::Field {
                position,
                name,
                detail,
            })
        };
        Ok(Self {
            minutes: read(1, MINUTE, minutes)?,
            hours: read(2, HOUR, hours)?,
            days: read(3, DAY, days)?,
            months: read(4, MONTH, months)?,
            weekdays: read(5, WEEKDAY, weekdays)?,
        })
    }

    /// Whether the minute or the hour is a wildcard or a step of one: such an expression follows elapsed time when clocks
    /// are set, others name times of the day.
    pub fn follows_elapsed_time(&self) -> bool {
        self.minutes.starts_with_star || self.hours.starts_with_star
    }

    /// With both day fields restricted, a day that matches either is meant.
    fn either_day(&self) -> bool {
        !self.days.starts_with_star && !self.weekdays.starts_with_star
    }
}

#[cfg(test)]
mod tests;
