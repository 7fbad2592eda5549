//! Texts of requests, bounded.

use fleetwright_plugin_api::sdk::{At, Fields, FromInput, bounds};
use serde_json::Value;

/// Of names and keys, in characters. Our choice; a UUID with a prefix fits many times.
pub(super) const KEY_CHARS_MAX: usize = 200;
/// Of a checkpoint or of what is said of a run or an artifact: where to look, not what is there.
const NOTE_BYTES_MAX: usize = 16 * 1024;

pub(super) fn required_line(
    fields: &mut Fields<'_, '_>,
    field: &'static str,
    chars: usize,
) -> Option<String> {
    if !fields.has(field) {
        return fields.take::<String>(field);
    }
    fields.optional_by(field, bounds::line("job-name-invalid", 1..=chars))
}

pub(super) fn lines(
    value: Value,
    at: &mut At<'_>,
    most: usize,
    code: &'static str,
) -> Option<Vec<String>> {
    let names = Vec::<String>::from_input(value, at)?;
    if names.len() > most {
        at.refuse(code, format_args!("at most {most}"));
    }
    for (index, name) in names.iter().enumerate() {
        let line = bounds::line(code, 1..=KEY_CHARS_MAX);
        line(Value::from(name.as_str()), &mut at.item(index));
    }
    Some(names)
}

/// A text of any lines; databases take no NUL.
pub(super) fn text(value: Value, at: &mut At<'_>) -> Option<String> {
    let text = String::from_input(value, at)?;
    if text.contains('\0') {
        at.refuse("invalid-field", "must not contain NUL characters");
    }
    Some(text)
}

/// A text, or anything else as JSON.
pub(super) fn note(value: Value, at: &mut At<'_>) -> Option<String> {
    match value {
        value @ Value::String(_) => small(text(value, at)?, at),
        other => small(other.to_string(), at),
    }
}

pub(super) fn small(text: String, at: &mut At<'_>) -> Option<String> {
    if text.len() > NOTE_BYTES_MAX {
        at.refuse(
            "too-large",
            format_args!("must be at most {NOTE_BYTES_MAX} bytes"),
        );
    }
    Some(text)
}
