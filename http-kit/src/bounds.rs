//! Values with bounds: a whole number in a range, a word of several, a line of text. What is outside is refused with a code of its own,
//! what is of another type with the one of every field.

use std::ops::RangeInclusive;

use fleetwright_protocol::limits::REASON_CHARS_MAX;
use fleetwright_protocol::text;
use serde_json::{Number, Value};

use crate::input::{At, FromInput, MISTYPED};

/// A whole number in a range.
pub fn whole(
    code: &'static str,
    range: RangeInclusive<i64>,
) -> impl FnOnce(Value, &mut At<'_>) -> Option<u64> {
    move |value, at| {
        let number = integer(value, at, code)?;
        if !range.contains(&number) {
            let (from, to) = (range.start(), range.end());
            at.refuse(code, format_args!("must be between {from} and {to}"));
        }
        u64::try_from(number).ok()
    }
}

/// Any whole number, for whoever has a range that is checked elsewhere.
pub fn integer(value: Value, at: &mut At<'_>, code: &str) -> Option<i64> {
    let number = Number::from_input(value, at)?.as_i64();
    if number.is_none() {
        at.refuse(code, "must be an integer in range");
    }
    number
}

/// One word of several, each with what it means; anything else is of another type.
pub fn one_of<T: Copy>(value: &Value, at: &mut At<'_>, words: &[(&str, T)]) -> Option<T> {
    word(value, at, MISTYPED, words)
}

/// One word of several, each with what it means.
pub fn word<T: Copy>(value: &Value, at: &mut At<'_>, code: &str, words: &[(&str, T)]) -> Option<T> {
    let meant = words.iter().find(|(word, _)| value == word);
    if meant.is_none() {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        at.refuse(code, format_args!("must be one of: {}", known.join(", ")));
    }
    meant.map(|(_, meaning)| *meaning)
}

/// One line for people: so many characters, none of them a control character or one that changes the direction.
pub fn line(
    code: &'static str,
    chars: RangeInclusive<usize>,
) -> impl FnOnce(Value, &mut At<'_>) -> Option<String> {
    move |value, at| {
        let line = String::from_input(value, at)?;
        let (from, to) = (*chars.start(), *chars.end());
        if line.chars().take(from).count() < from || !text::is_line(&line, to) {
            match from {
                0 => at.refuse(
                    code,
                    format_args!("must be at most {to} printable characters"),
                ),
                _ => at.refuse(
                    code,
                    format_args!("must be {from} to {to} printable characters"),
                ),
            }
        }
        Some(line)
    }
}

/// Why, for people and for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(pub String);

impl FromInput for Reason {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        line("operation-reason-invalid", 0..=REASON_CHARS_MAX)(value, at).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::input::read_with;

    #[test]
    fn what_is_outside_has_its_own_code_and_another_type_that_of_every_field() {
        let cases = [
            (json!(3), Ok(3)),
            (json!(4), Err("must be between 1 and 3")),
            (json!(-1), Err("must be between 1 and 3")),
            (json!(1.5), Err("must be an integer in range")),
            (json!(u64::MAX), Err("must be an integer in range")),
        ];
        for (value, expected) in cases {
            let read = read_with(value.clone(), whole("size-invalid", 1..=3));
            let told = read.as_ref().map(|number| *number);
            let told = told.map_err(|problem| (problem.code(), problem.detail()));
            assert_eq!(
                told,
                expected.map_err(|detail| ("size-invalid", detail)),
                "{value}"
            );
        }
        let mistyped = read_with(json!("3"), whole("size-invalid", 1..=3));
        assert_eq!(mistyped.expect_err("a text").code(), "invalid-field");
    }

    #[test]
    fn a_reason_is_a_line_of_at_most_five_hundred_characters() {
        let told = |text: &str| {
            let read = crate::input::read::<Reason>(json!(text));
            read.map_err(|problem| (problem.code().to_owned(), problem.detail().to_owned()))
        };
        for good in ["", "CHG-1: größer", &"ü".repeat(500)] {
            assert_eq!(told(good), Ok(Reason(good.to_owned())));
        }
        let long = "r".repeat(501);
        let very_long = "r".repeat(100_000);
        for bad in [&long, &very_long, "a\nb", "\u{202e}x", "\u{1b}[31m", "\0"] {
            let detail = "must be at most 500 printable characters".to_owned();
            let refused = Err(("operation-reason-invalid".to_owned(), detail));
            assert_eq!(told(bad), refused, "{:.20}", bad);
        }
        let named = line("name-invalid", 1..=3);
        let problem = read_with(json!(""), named).expect_err("empty");
        assert_eq!(problem.detail(), "must be 1 to 3 printable characters");
    }
}
