//! Values with bounds: a whole number in a range, a word of several. What is outside is refused with a code of its own,
//! what is of another type with the one of every field.

use std::ops::RangeInclusive;

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
}
