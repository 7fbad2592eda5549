//! Amounts of money: decimals in the API, whole micro-USD inside. An amount never is a float, not even in between: decimals
//! are read digit by digit.

use fleetwright_plugin_api::sdk::{At, FromInput};
use serde_json::{Number, Value};

/// Micro-USD of one USD.
const MICROS: i64 = 1_000_000;
/// Places behind the point.
const PLACES: usize = 6;
/// Decimals of up to 15 digits are told apart by every 64-bit float, so that its shortest decimal is what was written.
const FLOAT_MICROS_MAX: i64 = 999_999_999_999_999;
/// Digits of a number in JSON that are looked at; an amount has at most 19.
const DIGITS_MAX: usize = 64;
/// Of everything that is no amount.
pub const CODE: &str = "money-invalid";

/// An amount from 0 to 9223372036854.775807 USD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usd {
    pub micros: i64,
}

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("must be a decimal number such as 12.5")]
    NoNumber,
    #[error("must not be negative")]
    Negative,
    #[error("must have at most 6 places behind the point")]
    Places,
    #[error("must be at most 9223372036854.775807")]
    Overflow,
    #[error("must be written as a text, because it has more digits than a JSON number keeps")]
    Inexact,
}

impl Usd {
    /// From a plain decimal: digits, and up to six more behind a point.
    pub fn from_decimal(text: &str) -> Result<Self, MoneyError> {
        if let Some(rest) = text.strip_prefix('-') {
            return match Self::from_decimal(rest) {
                Err(MoneyError::NoNumber | MoneyError::Negative) => Err(MoneyError::NoNumber),
                Ok(_) | Err(_) => Err(MoneyError::Negative),
            };
        }
        let (whole, places) = match text.split_once('.') {
            Some((whole, places)) if !places.is_empty() => (whole, places),
            Some(_) => return Err(MoneyError::NoNumber),
            None => (text, ""),
        };
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_digits(whole) || !is_digits(places) {
            return Err(MoneyError::NoNumber);
        }
        if places.len() > PLACES {
            return Err(MoneyError::Places);
        }
        let padding = std::iter::repeat_n(b'0', PLACES - places.len());
        let digits = whole.bytes().chain(places.bytes()).chain(padding);
        let micros = digits.map(|byte| i64::from(byte - b'0'));
        micros
            .into_iter()
            .try_fold(0_i64, |sum, digit| sum.checked_mul(10)?.checked_add(digit))
            .map(|micros| Self { micros })
            .ok_or(MoneyError::Overflow)
    }

    /// From a number as JSON writes it, which may have an exponent.
    pub fn from_json_number(text: &str) -> Result<Self, MoneyError> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            None => return Self::from_decimal(text),
            Some((mantissa, exponent)) => (mantissa, exponent),
        };
        let exponent: i32 = exponent.parse().map_err(|_| MoneyError::Overflow)?;
        let (sign, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => ("-", rest),
            None => ("", mantissa),
        };
        let (whole, places) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{places}");
        if digits.bytes().all(|byte| byte == b'0') && !digits.is_empty() {
            return Self::from_decimal(&format!("{sign}0"));
        }
        let digits = digits.trim_start_matches('0');
        let places = i32::try_from(places.len()).map_err(|_| MoneyError::Places)?;
        // The number is digits × 10^shift.
        let shift = exponent.saturating_sub(places);
        let (digits, shift) = drop_zeros(digits, shift);
        let shifted = usize::try_from(shift.unsigned_abs()).unwrap_or(usize::MAX);
        if digits.len() > DIGITS_MAX || shifted > DIGITS_MAX {
            return Err(match (sign, shift < 0) {
                ("-", _) => MoneyError::Negative,
                (_, true) => MoneyError::Places,
                (_, false) => MoneyError::Overflow,
            });
        }
        let plain = if shift >= 0 {
            format!("{digits}{}", "0".repeat(shifted))
        } else {
            let padded = format!("{}{digits}", "0".repeat(shifted));
            let point = padded.len() - shifted;
            let (whole, places) = padded.split_at(point);
            let whole = whole.trim_start_matches('0');
            let whole = if whole.is_empty() { "0" } else { whole };
            format!("{whole}.{places}")
        };
        Self::from_decimal(&format!("{sign}{plain}"))
    }

    /// From a number that was parsed already. A fraction has become a float by then, and its shortest decimal is taken where
    /// that is certain to be the one that was written.
    pub fn from_parsed(number: &Number) -> Result<Self, MoneyError> {
        let read = Self::from_json_number(&number.to_string())?;
        if number.is_f64() && read.micros > FLOAT_MICROS_MAX {
            return Err(MoneyError::Inexact);
        }
        Ok(read)
    }

    /// From a text with a decimal, or a number that was parsed already.
    pub fn from_json(value: &Value) -> Result<Self, MoneyError> {
        match value {
            Value::String(text) => Self::from_decimal(text),
            Value::Number(number) => Self::from_parsed(number),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                Err(MoneyError::NoNumber)
            }
        }
    }

    pub fn of(micros: i64) -> Self {
        Self { micros }
    }
}

/// As a decimal without needless zeros; below zero too, for differences.
impl std::fmt::Display for Usd {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.micros < 0 { "-" } else { "" };
        let micros = self.micros.unsigned_abs();
        let one = MICROS.unsigned_abs();
        let places = format!("{:06}", micros % one);
        let places = places.trim_end_matches('0');
        let point = if places.is_empty() { "" } else { "." };
        write!(formatter, "{sign}{}{point}{places}", micros / one)
    }
}

impl serde::Serialize for Usd {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl utoipa::PartialSchema for Usd {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, Type};
        let decimal = ObjectBuilder::new().schema_type(Type::String);
        decimal
            .description(Some(
                "A decimal with at most 6 places; in requests a JSON number too.",
            ))
            .pattern(Some(r"^[0-9]+(\.[0-9]{1,6})?$"))
            .into()
    }
}

impl utoipa::ToSchema for Usd {}

impl FromInput for Usd {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let read = Self::from_json(&value);
        read.map_err(|error| at.refuse(CODE, error)).ok()
    }
}

/// Zeros at the end say nothing but how large the number is.
fn drop_zeros(digits: &str, shift: i32) -> (&str, i32) {
    let kept = digits.trim_end_matches('0');
    let dropped = i32::try_from(digits.len() - kept.len()).unwrap_or(i32::MAX);
    (kept, shift.saturating_add(dropped))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_decimal_is_read_exactly_or_refused() {
        use MoneyError::{Negative, NoNumber, Overflow, Places};
        let cases = [
            ("0", Ok(0)),
            ("100", Ok(100_000_000)),
            ("0.1", Ok(100_000)),
            ("00.10", Ok(100_000)),
            ("0.000001", Ok(1)),
            ("9223372036854.775807", Ok(i64::MAX)),
            ("9223372036854.775808", Err(Overflow)),
            ("99999999999999999999999999", Err(Overflow)),
            ("0.0000001", Err(Places)),
            ("1.0000000", Err(Places)),
            ("-1", Err(Negative)),
            ("-0", Err(Negative)),
            ("-0.0000001", Err(Negative)),
            ("--1", Err(NoNumber)),
            ("", Err(NoNumber)),
            (".5", Err(NoNumber)),
            ("5.", Err(NoNumber)),
            ("1e3", Err(NoNumber)),
            ("+1", Err(NoNumber)),
            (" 1", Err(NoNumber)),
            ("1,5", Err(NoNumber)),
            ("NaN", Err(NoNumber)),
            ("Infinity", Err(NoNumber)),
            ("0x10", Err(NoNumber)),
            ("1_000", Err(NoNumber)),
            ("\u{661}", Err(NoNumber)),
        ];
        for (text, expected) in cases {
            let read = Usd::from_decimal(text).map(|usd| usd.micros);
            assert_eq!(read, expected, "{text:?}");
        }
    }

    #[test]
    fn a_json_number_is_read_exactly_or_refused() {
        use MoneyError::{Negative, Overflow, Places};
        let cases = [
            ("1e2", Ok(100_000_000)),
            ("1E+2", Ok(100_000_000)),
            ("1.5e1", Ok(15_000_000)),
            ("15000000e-6", Ok(15_000_000)),
            ("1e-6", Ok(1)),
            ("10e-7", Ok(1)),
            ("1e-7", Err(Places)),
            ("0e999999999999", Err(Overflow)),
            ("0e99", Ok(0)),
            ("1e13", Err(Overflow)),
            ("1e99", Err(Overflow)),
            ("1e999", Err(Overflow)),
            ("1e-999", Err(Places)),
            ("-1e-999", Err(Negative)),
            ("-1e2", Err(Negative)),
            ("0.30000000000000004", Err(Places)),
        ];
        for (text, expected) in cases {
            let read = Usd::from_json_number(text).map(|usd| usd.micros);
            assert_eq!(read, expected, "{text:?}");
        }
    }

    #[test]
    fn a_parsed_fraction_is_taken_only_where_it_is_certain() {
        let parsed = |text: &str| {
            let number: Number = serde_json::from_str(text).expect("a number");
            Usd::from_parsed(&number).map(|usd| usd.micros)
        };
        assert_eq!(parsed("0.1"), Ok(100_000));
        assert_eq!(parsed("0.000001"), Ok(1));
        assert_eq!(parsed("999999999.999999"), Ok(999_999_999_999_999));
        assert_eq!(parsed("1000000000.1"), Err(MoneyError::Inexact));
        // Whole numbers stay whole.
        assert_eq!(parsed("9223372036854"), Ok(9_223_372_036_854_000_000));
        assert_eq!(parsed("9223372036855"), Err(MoneyError::Overflow));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(micros in 0..=i64::MAX) {
            let text = Usd::of(micros).to_string();
            prop_assert_eq!(Usd::from_decimal(&text), Ok(Usd::of(micros)));
            prop_assert_eq!(Usd::from_json_number(&format!("{text}e0")), Ok(Usd::of(micros)));
        }

        #[test]
        fn a_float_of_fifteen_digits_says_what_was_written(micros in 0..=FLOAT_MICROS_MAX) {
            let number: Number = serde_json::from_str(&Usd::of(micros).to_string()).expect("a number");
            prop_assert_eq!(Usd::from_parsed(&number), Ok(Usd::of(micros)));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[-+0-9.eE]{0,30}|\\PC{0,12}") {
            let _ = Usd::from_decimal(&text);
            let _ = Usd::from_json_number(&text);
        }
    }
}
