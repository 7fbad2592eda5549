//! Reads the fields of a JSON object one by one and keeps what is wrong with them. Not a schema: the caller names
//! each field once, and whatever it did not name is unknown.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use fleetwright_protocol::Violation;
use serde_json::{Map, Value};

/// Violations reported at once. More would only make a larger answer to a hopeless body.
const VIOLATIONS_MAX: usize = 100;
/// Characters of an unknown key that are repeated in an error.
const KEY_CHARS_SHOWN: usize = 64;

pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    known: Vec<&'static str>,
    found: Vec<Violation>,
}

impl<'a> Fields<'a> {
    pub fn of(body: &'a Value) -> Result<Self, Vec<Violation>> {
        let object = body.as_object().ok_or_else(|| {
            vec![Violation::new(
                "",
                "field-type-invalid",
                "must be an object",
            )]
        })?;
        Ok(Self {
            object,
            known: Vec::new(),
            found: Vec::new(),
        })
    }

    /// The field, unless it is absent or null.
    pub fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        self.object.get(name).filter(|value| !value.is_null())
    }

    pub fn has(&self, name: &str) -> bool {
        self.object.get(name).is_some_and(|value| !value.is_null())
    }

    pub fn refuse(&mut self, place: &str, code: &str, detail: &str) {
        let pointer = format!("/{place}");
        self.found.push(Violation::new(pointer, code, detail));
    }

    pub fn refuse_all(&mut self, found: Vec<Violation>) {
        self.found.extend(found);
    }

    pub fn text(&mut self, name: &'static str) -> Option<&'a str> {
        let value = self.value(name)?;
        let text = value.as_str();
        if text.is_none() {
            self.refuse(name, "field-type-invalid", "must be a text");
        }
        text
    }

    pub fn required_text(&mut self, name: &'static str, code: &str) -> Option<&'a str> {
        let text = self.text(name);
        if !self.has(name) {
            self.refuse(name, code, "is required");
        }
        text
    }

    pub fn flag(&mut self, name: &'static str) -> bool {
        let Some(value) = self.value(name) else {
            return false;
        };
        value.as_bool().unwrap_or_else(|| {
            self.refuse(name, "field-type-invalid", "must be true or false");
            false
        })
    }

    /// An integer; anything else is refused with the code of its range.
    pub fn integer(&mut self, name: &'static str, code: &str) -> Option<i64> {
        let value = self.value(name)?;
        let number = value.as_i64();
        if number.is_none() {
            self.refuse(name, code, "must be an integer in range");
        }
        number
    }

    pub fn number(
        &mut self,
        name: &'static str,
        code: &str,
        range: RangeInclusive<i64>,
    ) -> Option<u64> {
        let number = self.integer(name, code)?;
        if !range.contains(&number) {
            let detail = format!("must be between {} and {}", range.start(), range.end());
            self.refuse(name, code, &detail);
        }
        u64::try_from(number).ok()
    }

    pub fn word(
        &mut self,
        name: &'static str,
        code: &str,
        words: &[&'static str],
    ) -> Option<&'static str> {
        let value = self.value(name)?;
        let word = words
            .iter()
            .find(|word| value.as_str() == Some(**word))
            .copied();
        if word.is_none() {
            let detail = format!("must be one of: {}", words.join(", "));
            self.refuse(name, code, &detail);
        }
        word
    }

    pub fn texts_by_name(&mut self, name: &'static str) -> BTreeMap<String, String> {
        let Some(value) = self.value(name) else {
            return BTreeMap::new();
        };
        let texts = serde_json::from_value(value.clone());
        texts.unwrap_or_else(|_not_texts| {
            self.refuse(
                name,
                "field-type-invalid",
                "must be an object of names and texts",
            );
            BTreeMap::new()
        })
    }

    /// Everything that was found, with the fields nobody asked for first: a typo explains the rest.
    pub fn finish(self) -> Result<(), Vec<Violation>> {
        let unknown = self
            .object
            .keys()
            .filter(|key| !self.known.contains(&key.as_str()));
        let mut found: Vec<Violation> = unknown
            .take(VIOLATIONS_MAX)
            .map(|key| Violation::new(format!("/{}", token(key)), "unknown-field", "no such field"))
            .collect();
        found.extend(self.found);
        found.truncate(VIOLATIONS_MAX);
        if found.is_empty() { Ok(()) } else { Err(found) }
    }
}

/// A key as a JSON pointer token, short and printable.
fn token(key: &str) -> String {
    let shown: String = key
        .chars()
        .filter(|character| !character.is_control())
        .take(KEY_CHARS_SHOWN)
        .collect();
    shown.replace('~', "~0").replace('/', "~1")
}
