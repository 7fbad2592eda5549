//! Windows of the calendar, in UTC: days, ISO weeks (from Monday), months. Pure arithmetic on days since the Unix epoch, so
//! that it has an answer for every time.

/// Microseconds of a day; UTC as computers count it has no other days.
pub const DAY_US: i64 = 86_400_000_000;
/// Days from 0000-03-01 to 1970-01-01. Years are counted from March here, so that a leap day is the last one.
const EPOCH_DAYS: i64 = 719_468;
/// Days of 400 years, after which the calendar repeats.
const ERA_DAYS: i64 = 146_097;

/// How long a budget counts before it begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    Daily,
    Weekly,
    Monthly,
    /// It never begins anew.
    Total,
}

/// A stretch of time, in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub starts_at_us: i64,
    /// The first moment that is not in it; none if it does not end.
    pub ends_at_us: Option<i64>,
}

impl Period {
    pub const ALL: [Self; 4] = [Self::Daily, Self::Weekly, Self::Monthly, Self::Total];

    /// The word in the API and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Total => "total",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }

    /// The window that `now_us` is in. One that never ends begins on the day `since_us` is in.
    pub fn window(self, now_us: i64, since_us: i64) -> Window {
        let today = day_of(now_us);
        let (first, after) = match self {
            Self::Daily => (today, today + 1),
            Self::Weekly => {
                // The epoch was a Thursday.
                let monday = today - (today + 3).rem_euclid(7);
                (monday, monday + 7)
            }
            Self::Monthly => month_of(today),
            Self::Total => {
                return Window {
                    starts_at_us: start_of(day_of(since_us)),
                    ends_at_us: None,
                };
            }
        };
        Window {
            starts_at_us: start_of(first),
            ends_at_us: Some(start_of(after)),
        }
    }
}

/// The day a time is in, since the Unix epoch.
pub fn day_of(at_us: i64) -> i64 {
    at_us.div_euclid(DAY_US)
}

/// When a day begins.
pub fn start_of(day: i64) -> i64 {
    day.saturating_mul(DAY_US)
}

/// As `2026-01-31`.
pub fn day_text(day: i64) -> String {
    let (year, month, day) = date_of(day);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The first day of the month `day` is in, and of the next one.
fn month_of(day: i64) -> (i64, i64) {
    let (year, month, of_month) = date_of(day);
    let next = if month == 12 {
        number_of(year + 1, 1)
    } else {
        number_of(year, month + 1)
    };
    (day - of_month + 1, next)
}

/// Year, month and day in the proleptic Gregorian calendar. (Howard Hinnant, "chrono-compatible low-level date algorithms".)
fn date_of(day: i64) -> (i64, i64, i64) {
    let shifted = day + EPOCH_DAYS;
    let era = shifted.div_euclid(ERA_DAYS);
    let of_era = shifted.rem_euclid(ERA_DAYS);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, of_month)
}

/// The day on which a month begins.
fn number_of(year: i64, month: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * ERA_DAYS + of_era - EPOCH_DAYS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> i64 {
        let time: jiff::Timestamp = text.parse().expect("a time");
        time.as_microsecond()
    }

    #[test]
    fn windows_begin_and_end_where_the_calendar_says() {
        let cases = [
            (
                "2026-01-31T23:59:59.999999Z",
                Period::Daily,
                "2026-01-31",
                "2026-02-01",
            ),
            (
                "2026-02-01T00:00:00Z",
                Period::Daily,
                "2026-02-01",
                "2026-02-02",
            ),
            // A Thursday, a Monday, and the Sunday before it.
            (
                "2026-01-01T12:00:00Z",
                Period::Weekly,
                "2025-12-29",
                "2026-01-05",
            ),
            (
                "2026-01-05T00:00:00Z",
                Period::Weekly,
                "2026-01-05",
                "2026-01-12",
            ),
            (
                "2026-01-04T23:59:59Z",
                Period::Weekly,
                "2025-12-29",
                "2026-01-05",
            ),
            (
                "2026-12-31T23:00:00Z",
                Period::Monthly,
                "2026-12-01",
                "2027-01-01",
            ),
            (
                "2026-02-28T00:00:00Z",
                Period::Monthly,
                "2026-02-01",
                "2026-03-01",
            ),
            (
                "2028-02-29T12:00:00Z",
                Period::Monthly,
                "2028-02-01",
                "2028-03-01",
            ),
            (
                "2028-02-29T12:00:00Z",
                Period::Daily,
                "2028-02-29",
                "2028-03-01",
            ),
            (
                "2100-02-28T12:00:00Z",
                Period::Daily,
                "2100-02-28",
                "2100-03-01",
            ),
            (
                "2000-02-29T12:00:00Z",
                Period::Daily,
                "2000-02-29",
                "2000-03-01",
            ),
            (
                "1969-12-31T23:59:59Z",
                Period::Monthly,
                "1969-12-01",
                "1970-01-01",
            ),
        ];
        for (now, period, first, after) in cases {
            let window = period.window(at(now), 0);
            let expected = Window {
                starts_at_us: at(&format!("{first}T00:00:00Z")),
                ends_at_us: Some(at(&format!("{after}T00:00:00Z"))),
            };
            assert_eq!(window, expected, "{now} {period:?}");
            assert_eq!(day_text(day_of(window.starts_at_us)), first);
        }
        let total = Period::Total.window(at("2026-03-04T05:06:07Z"), at("2026-02-03T04:05:06Z"));
        assert_eq!(total.starts_at_us, at("2026-02-03T00:00:00Z"));
        assert_eq!(total.ends_at_us, None);
    }

    proptest! {
        #[test]
        fn days_are_those_of_another_calendar(day in -700_000_i64..2_900_000) {
            let time = jiff::Timestamp::from_second(day * 86_400).expect("in range");
            let date = time.to_zoned(jiff::tz::TimeZone::UTC).date();
            prop_assert_eq!(date_of(day), (i64::from(date.year()), i64::from(date.month()), i64::from(date.day())));
            let (first, next) = month_of(day);
            prop_assert_eq!(next - first, i64::from(date.days_in_month()));
            let monday = Period::Weekly.window(start_of(day), 0).starts_at_us;
            let monday = jiff::Timestamp::from_microsecond(monday).expect("in range");
            let weekday = monday.to_zoned(jiff::tz::TimeZone::UTC).weekday();
            prop_assert_eq!(weekday, jiff::civil::Weekday::Monday);
        }

        #[test]
        fn every_time_is_in_one_window_and_the_next_begins_where_it_ends(now_us in -60_000_000_000_000_000_i64..250_000_000_000_000_000) {
            for period in [Period::Daily, Period::Weekly, Period::Monthly] {
                let window = period.window(now_us, 0);
                let end_us = window.ends_at_us.expect("it ends");
                prop_assert!(window.starts_at_us <= now_us && now_us < end_us);
                prop_assert_eq!(period.window(end_us, 0).starts_at_us, end_us);
                prop_assert_eq!(period.window(end_us - 1, 0), window);
            }
        }
    }
}
