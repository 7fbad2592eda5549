//! Which members an object must and may have, and reading it into what it is.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::rules;
use crate::violation::Violation;

/// Checks names first (all unknown and all missing ones), then types, so that a typo is reported as a typo.
pub(super) fn shape<T: DeserializeOwned>(
    value: &Value,
    required: &[&str],
    optional: &[&str],
) -> Result<T, Vec<Violation>> {
    let object = names(value, required, optional)?;
    serde_json::from_value(Value::Object(object.clone())).map_err(|error| {
        vec![Violation::new(
            "",
            "operation-parameter-invalid",
            error.to_string(),
        )]
    })
}

/// The object, if it has all required members and no unknown ones. Returns every violation found.
pub(super) fn names<'a>(
    value: &'a Value,
    required: &[&str],
    optional: &[&str],
) -> Result<&'a Map<String, Value>, Vec<Violation>> {
    let Some(object) = value.as_object() else {
        return Err(vec![Violation::new(
            "",
            "operation-parameter-invalid",
            "must be an object",
        )]);
    };
    let mut found = Vec::new();
    for key in object.keys() {
        if !required.contains(&key.as_str()) && !optional.contains(&key.as_str()) {
            let pointer = format!("/{}", rules::pointer_token(key));
            found.push(Violation::new(
                pointer,
                "operation-parameter-unknown",
                "no such parameter",
            ));
        }
    }
    for key in required {
        if !object.contains_key(*key) {
            found.push(Violation::new(
                format!("/{key}"),
                "operation-parameter-missing",
                "is required",
            ));
        }
    }
    if found.is_empty() {
        Ok(object)
    } else {
        Err(found)
    }
}

/// The same violations, seen from a document that holds this one at `pointer`.
pub(super) fn under(found: Vec<Violation>, pointer: &str) -> Vec<Violation> {
    found
        .into_iter()
        .map(|violation| violation.under(pointer))
        .collect()
}
