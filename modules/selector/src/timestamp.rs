//! RFC 3339 times as microseconds since 1970, both ways. Not a calendar: no zones but a numeric offset, no leap seconds.

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// Reads `2026-03-01T12:00:00Z`, with an optional fraction (past microseconds it is cut off) and `Z` or a `±hh:mm` offset.
/// `None` for anything else, and for times outside the years 0001 to 9999 in UTC.
#[must_use]
pub fn parse_rfc3339_us(text: &str) -> Option<i64> {
    let mut rest = Digits {
        bytes: text.as_bytes(),
    };
    let year = rest.number(4)?;
    rest.one_of(b"-")?;
    let month = rest.number(2)?;
    rest.one_of(b"-")?;
    let day = rest.number(2)?;
    rest.one_of(b"Tt ")?;
    let hour = rest.number(2)?;
    rest.one_of(b":")?;
    let minute = rest.number(2)?;
    rest.one_of(b":")?;
    let second = rest.number(2)?;
    let micros = if rest.one_of(b".").is_some() {
        rest.fraction_micros()?
    } else {
        0
    };
    let offset_seconds = rest.offset_seconds()?;
    let in_range = (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
    if !in_range || hour > 23 || minute > 59 || second > 59 || !rest.bytes.is_empty() {
        return None;
    }
    let of_day = hour * 3600 + minute * 60 + second;
    let seconds = days_from_civil(year, month, day) * SECONDS_PER_DAY + of_day - offset_seconds;
    let first = days_from_civil(1, 1, 1) * SECONDS_PER_DAY;
    let end = days_from_civil(10_000, 1, 1) * SECONDS_PER_DAY;
    (first..end)
        .contains(&seconds)
        .then_some(seconds * MICROS_PER_SECOND + micros)
}

/// Writes a time in UTC with `Z`, and a fraction of six digits only where there is one. Inverse of [`parse_rfc3339_us`] over the
/// range that function accepts.
#[must_use]
pub fn format_rfc3339_us(time_us: i64) -> String {
    let seconds = time_us.div_euclid(MICROS_PER_SECOND);
    let micros = time_us.rem_euclid(MICROS_PER_SECOND);
    let of_day = seconds.rem_euclid(SECONDS_PER_DAY);
    let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let whole = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if micros == 0 {
        format!("{whole}Z")
    } else {
        format!("{whole}.{micros:06}Z")
    }
}

struct Digits<'a> {
    bytes: &'a [u8],
}

impl Digits<'_> {
    fn one_of(&mut self, accepted: &[u8]) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        if !accepted.contains(first) {
            return None;
        }
        self.bytes = rest;
        Some(*first)
    }

    fn digit(&mut self) -> Option<i64> {
        self.one_of(b"0123456789")
            .map(|digit| i64::from(digit - b'0'))
    }

    fn number(&mut self, digits: usize) -> Option<i64> {
        (0..digits).try_fold(0, |number, _| Some(number * 10 + self.digit()?))
    }

    fn fraction_micros(&mut self) -> Option<i64> {
        let mut micros = self.digit()? * 100_000;
        let mut unit = 10_000;
        while let Some(digit) = self.digit() {
            micros += digit * unit;
            unit /= 10;
        }
        Some(micros)
    }

    fn offset_seconds(&mut self) -> Option<i64> {
        let sign = match self.one_of(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _zulu => return Some(0),
        };
        let hours = self.number(2)?;
        self.one_of(b":")?;
        let minutes = self.number(2)?;
        (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _thirty_one => 31,
    }
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar; the well-known formula over 400-year eras that start in March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times_are_read() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.000001Z", 1),
            ("1969-12-31T23:59:59.5Z", -500_000),
            ("2000-02-29t12:30:00z", 951_827_400_000_000),
            ("2026-03-01 02:00:00+02:00", 1_772_323_200_000_000),
            (
                "2024-12-31T23:59:59.1234567899-01:30",
                1_735_694_999_123_456,
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_rfc3339_us(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let cases = [
            "",
            "2024",
            "2024-01-01",
            "2024-01-01T00:00:00",
            "2024-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-04-31T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:60Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00Zx",
            "2024-01-01T00:00:00+24:00",
            "+024-01-01T00:00:00Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "yesterday",
        ];
        for text in cases {
            assert_eq!(parse_rfc3339_us(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn printing_a_time_and_reading_it_gives_the_time(time_us in -62_135_596_800_000_000_i64..253_402_300_800_000_000) {
            prop_assert_eq!(parse_rfc3339_us(&format_rfc3339_us(time_us)), Some(time_us));
        }
    }
}
