//! How much of a problem is told: its texts may quote what was sent, and what was sent may be large.

use std::borrow::Cow;

use fleetwright_protocol::Violation;
use serde_json::{Map, Value, json};

/// Of a body, those of the list of errors. The rest is room for what is told once.
const ERRORS_BYTES_MAX: usize = 48 * 1024;
/// Of one text for people, which may quote what was sent.
const DETAIL_BYTES_MAX: usize = 2_048;
/// Of one pointer: a few long names. It is cut beyond that, and then points nowhere.
const POINTER_BYTES_MAX: usize = 1_024;
/// Of further members together; the kit's own are a few words.
const EXTENSIONS_BYTES_MAX: usize = 8 * 1024;

/// A sentence for people.
pub fn detail(text: &str) -> Cow<'_, str> {
    cut(text, DETAIL_BYTES_MAX)
}

/// As many of the first errors as there is room for.
pub fn listed(errors: &[Violation]) -> Vec<Value> {
    let mut bytes = 0;
    let listed = errors.iter().map(|error| {
        json!({
            "pointer": cut(&error.pointer, POINTER_BYTES_MAX),
            "code": error.code,
            "detail": cut(&error.detail, DETAIL_BYTES_MAX),
        })
    });
    let fits = |error: &Value| {
        bytes += error.to_string().len() + 1;
        bytes <= ERRORS_BYTES_MAX
    };
    listed.take_while(fits).collect()
}

/// The members there is room for, the shorter ones first.
pub fn bounded(members: &Map<String, Value>) -> Map<String, Value> {
    let sized = members.iter().map(|(name, value)| {
        let bytes = name.len() + value.to_string().len();
        (bytes, name, value)
    });
    let mut sized: Vec<_> = sized.collect();
    sized.sort_by_key(|(bytes, ..)| *bytes);
    let mut all = 0;
    let fit = sized.into_iter().take_while(|(bytes, ..)| {
        all += bytes;
        all <= EXTENSIONS_BYTES_MAX
    });
    fit.map(|(_, name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The text, as far as it is no longer than so many bytes as JSON has for it.
fn cut(text: &str, bytes_max: usize) -> Cow<'_, str> {
    // A control character is six bytes as JSON, and everything else at most two.
    if text.len() * 2 <= bytes_max && !text.contains(char::is_control) {
        return text.into();
    }
    let mut bytes = 0;
    let end = text.char_indices().find(|(_, character)| {
        bytes += match character {
            '"' | '\\' => 2,
            character if character.is_control() => 6,
            character => character.len_utf8(),
        };
        bytes > bytes_max
    });
    match end {
        None => text.into(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
    }
}
