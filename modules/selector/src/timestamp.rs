//! RFC 3339 times as microseconds since 1970, both ways. The calendar is jiff's; the text is read here, because a selector
//! takes one form only and times that jiff's own instants do not reach. No zones but a numeric offset, no leap seconds.

use jiff::SignedDuration;
use jiff::civil::DateTime;

const EPOCH: DateTime = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
/// The first time that is read and the last.
const FIRST: DateTime = jiff::civil::date(1, 1, 1).at(0, 0, 0, 0);
const LAST: DateTime = DateTime::MAX;

/// Reads `2026-03-01T12:00:00Z`, with an optional fraction (past microseconds it is cut off) and `Z` or a `±hh:mm` offset.
/// `None` for anything else, and for times outside the years 0001 to 9999 in UTC.
#[must_use]
pub fn parse_rfc3339_us(text: &str) -> Option<i64> {
    let mut rest = Digits {
        bytes: text.as_bytes(),
    };
    let year = rest.number(4)?;
    rest.one_of(b"-")?;
    let month = rest.small()?;
    rest.one_of(b"-")?;
    let day = rest.small()?;
    rest.one_of(b"Tt ")?;
    let hour = rest.small()?;
    rest.one_of(b":")?;
    let minute = rest.small()?;
    rest.one_of(b":")?;
    let second = rest.small()?;
    let micros = if rest.one_of(b".").is_some() {
        rest.fraction_micros()?
    } else {
        0
    };
    let offset_seconds = rest.offset_seconds()?;
    if !rest.bytes.is_empty() {
        return None;
    }
    let year = i16::try_from(year).ok()?;
    let written = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    let utc = written.checked_sub(SignedDuration::from_secs(offset_seconds));
    let utc = utc.ok().filter(|utc| (FIRST..=LAST).contains(utc))?;
    let whole = i64::try_from(utc.duration_since(EPOCH).as_micros()).ok()?;
    Some(whole + micros)
}

/// Writes a time in UTC with `Z`, and a fraction of six digits only where there is one. Inverse of [`parse_rfc3339_us`] over the
/// range that function accepts; a time beyond it is written as the nearest within.
#[must_use]
pub fn format_rfc3339_us(time_us: i64) -> String {
    let beyond = if time_us < 0 { FIRST } else { LAST };
    let time = EPOCH.checked_add(SignedDuration::from_micros(time_us));
    let time = time.unwrap_or(beyond);
    let micros = time.subsec_nanosecond() / 1_000;
    let whole = time.strftime("%Y-%m-%dT%H:%M:%S");
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

    /// Two digits.
    fn small(&mut self) -> Option<i8> {
        self.number(2).and_then(|number| i8::try_from(number).ok())
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
