//! Reads the fields of a JSON object one by one and keeps what is wrong with them. Not a schema: the caller names
//! each field once, and whatever it did not name is unknown.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use fleetwright_protocol::Violation;
use serde_json::{Map, Value};

/// Characters of an unknown key that are repeated in an error.
const KEY_CHARS_SHOWN: usize = 64;

/// Of a value that is not of its field's type: the code of every route of the server.
pub const MISTYPED: &str = "invalid-field";

pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    known: Vec<&'static str>,
    found: Vec<Violation>,
}

impl<'a> Fields<'a> {
    pub fn of(body: &'a Value) -> Result<Self, Vec<Violation>> {
        let object = body
            .as_object()
            .ok_or_else(|| vec![Violation::new("", MISTYPED, "must be an object")])?;
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
            self.refuse(name, MISTYPED, "must be a text");
        }
        text
    }

    pub fn required_text(&mut self, name: &'static str) -> Option<&'a str> {
        let text = self.text(name);
        if !self.has(name) {
            self.missing(name);
        }
        text
    }

    pub fn missing(&mut self, name: &str) {
        let detail = format!("the field `{name}` is required");
        self.refuse(name, "missing-field", &detail);
    }

    pub fn flag(&mut self, name: &'static str) -> bool {
        let Some(value) = self.value(name) else {
            return false;
        };
        value.as_bool().unwrap_or_else(|| {
            self.refuse(name, MISTYPED, "must be true or false");
            false
        })
    }

    /// An integer; another number is refused with the code of its range.
    pub fn integer(&mut self, name: &'static str, code: &str) -> Option<i64> {
        let value = self.value(name)?;
        let number = value.as_i64();
        if !value.is_number() {
            self.refuse(name, MISTYPED, "must be a number");
        } else if number.is_none() {
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
        let Some(members) = value.as_object() else {
            self.refuse(name, MISTYPED, "must be an object");
            return BTreeMap::new();
        };
        let mut texts = BTreeMap::new();
        for (key, value) in members {
            match value.as_str() {
                Some(text) => drop(texts.insert(key.clone(), text.to_owned())),
                None => self.refuse(
                    &format!("{name}/{}", token(key)),
                    MISTYPED,
                    "must be a text",
                ),
            }
        }
        texts
    }

    /// Everything that was found, with the fields nobody asked for first: a typo explains the rest.
    pub fn finish(self) -> Result<(), Vec<Violation>> {
        let unknown = self
            .object
            .keys()
            .filter(|key| !self.known.contains(&key.as_str()));
        let mut found: Vec<Violation> = unknown
            .map(|key| {
                let (pointer, detail) = (
                    format!("/{}", token(key)),
                    format!("there is no field `{}` here", shown(key)),
                );
                Violation::new(pointer, "unknown-field", detail)
            })
            .collect();
        found.extend(self.found);
        if found.is_empty() { Ok(()) } else { Err(found) }
    }
}

/// A key as a JSON pointer token, short and printable.
fn token(key: &str) -> String {
    shown(key).replace('~', "~0").replace('/', "~1")
}

fn shown(key: &str) -> String {
    let printable = key.chars().filter(|character| !character.is_control());
    printable.take(KEY_CHARS_SHOWN).collect()
}
