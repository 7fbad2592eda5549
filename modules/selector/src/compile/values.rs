//! Reads the values of leaves from JSON: one function for each type a value can have. Which type a field takes is decided above.

use std::collections::HashSet;
use std::hash::Hash;

use serde_json::Value as Json;
use uuid::Uuid;

use super::fault::{Compiled, Fault, Part, fault};
use crate::characters::{first_forbidden, forbidden_detail};
use crate::timestamp::parse_rfc3339_us;
use crate::value::Version;
use crate::violation::code;

/// The elements of an array, each meaning once: of two with the same `key` the first is kept. What is stored of a list is
/// then bounded by what it says, not by how often it says it.
pub(super) fn elements<T, K: Eq + Hash>(
    value: &Json,
    read: impl Fn(&Json, Part) -> Result<T, Fault>,
    key: impl Fn(&T) -> K,
) -> Compiled<Vec<T>> {
    let Some(array) = value.as_array() else {
        return Err(vec![invalid(Part::Value, "an array is required")]);
    };
    if array.is_empty() {
        return Err(vec![invalid(Part::Value, "the array is empty")]);
    }
    let mut read_elements = Vec::new();
    let mut seen = HashSet::new();
    let mut faults = Vec::new();
    for (position, element) in array.iter().enumerate() {
        match read(element, Part::Element(position)) {
            Ok(element) if seen.insert(key(&element)) => read_elements.push(element),
            Ok(_said_before) => {}
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() {
        Ok(read_elements)
    } else {
        Err(faults)
    }
}

pub(super) fn text(value: &Json, part: Part) -> Result<String, Fault> {
    let text = value
        .as_str()
        .ok_or_else(|| invalid(part, "a string is required"))?;
    match first_forbidden(text) {
        Some(character) => Err(fault(part, code::TEXT_INVALID, forbidden_detail(character))),
        None => Ok(text.to_owned()),
    }
}

/// For a test that an empty text would make true of everything.
pub(super) fn non_empty_text(value: &Json, part: Part) -> Result<String, Fault> {
    let text = text(value, part)?;
    if text.is_empty() {
        Err(invalid(part, "the string is empty"))
    } else {
        Ok(text)
    }
}

pub(super) fn word(value: &Json, part: Part, accepted: &[&str]) -> Result<String, Fault> {
    let folded = text(value, part)?.to_ascii_lowercase();
    if accepted.contains(&folded.as_str()) {
        Ok(folded)
    } else {
        Err(invalid(
            part,
            format!("must be one of: {}", accepted.join(", ")),
        ))
    }
}

pub(super) fn host_id(value: &Json, part: Part) -> Result<String, Fault> {
    let text = text(value, part)?;
    match parse_host_id(&text) {
        Some(id) => Ok(id.hyphenated().to_string()),
        None => Err(invalid(part, "must be a host id (a hyphenated UUID)")),
    }
}

/// Reads a UUID in its 36-character form only; the library would also take others.
pub(crate) fn parse_host_id(text: &str) -> Option<Uuid> {
    if text.len() == 36 {
        Uuid::try_parse(text).ok()
    } else {
        None
    }
}

pub(super) fn version(value: &Json) -> Result<Version, Fault> {
    let text = text(value, Part::Value)?;
    Version::parse(&text).ok_or_else(|| {
        invalid(
            Part::Value,
            "must be a numeric-dotted version such as 1.2.10",
        )
    })
}

pub(super) fn whole_number(value: &Json, part: Part) -> Result<i64, Fault> {
    value
        .as_i64()
        .ok_or_else(|| invalid(part, "a whole number is required"))
}

pub(super) fn time(value: &Json, part: Part) -> Result<i64, Fault> {
    value.as_str().and_then(parse_rfc3339_us).ok_or_else(|| {
        invalid(
            part,
            "an RFC 3339 time is required, such as 2026-03-01T12:00:00Z",
        )
    })
}

pub(super) fn boolean(value: &Json, part: Part) -> Result<bool, Fault> {
    value
        .as_bool()
        .ok_or_else(|| invalid(part, "true or false is required"))
}

pub(super) fn invalid(part: Part, detail: impl Into<String>) -> Fault {
    fault(part, code::VALUE_INVALID, detail)
}
