//! Reading a document into a value, with everything that is wrong in it: each fault is kept with its place, and reading
//! goes on beside it. One pass over the document, whatever is wrong in it.
//!
//! Serde cannot do this: a visitor that was given a bad value is gone, so what stands after the first fault is only seen
//! by starting again. Here a value is read by [`FromInput`], which answers "none, and I have said why" instead of an
//! error, so that an object is read to its last field and a list to its last item.

use std::collections::BTreeMap;
use std::fmt;

use fleetwright_protocol::{CommandId, EnvironmentValue, HostId, SetId, Violation};
use serde_json::{Map, Number, Value};
use uuid::Uuid;

use crate::problem::ERRORS_MAX;
use crate::{Problem, Timestamp};

/// Characters of a key that are repeated in a pointer; a key may be as long as the body.
const KEY_CHARS_SHOWN: usize = 64;
/// Of a value that is not of its field's type.
pub(crate) const MISTYPED: &str = "invalid-field";
/// Digits and hyphens of the one form of a UUID that is read: each thing has one name.
const HYPHENATED_CHARS: usize = 36;

/// What can be read from a body or a query.
pub trait FromInput: Sized {
    /// Reads one value. `None` has told `at` what is wrong.
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self>;

    /// What it is where it is left out, or null; none if it is required.
    fn left_out() -> Option<Self> {
        None
    }
}

/// A place in the document that is being read, and what was found wrong up to here.
pub struct At<'a> {
    place: Place<'a>,
    found: &'a mut Found,
    is_text: bool,
}

#[derive(Clone, Copy)]
struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Item(usize),
}

/// Unknown fields come first in the answer: a typo explains what is missing.
#[derive(Default)]
struct Found {
    unknown: Vec<Violation>,
    others: Vec<Violation>,
    count: usize,
}

/// Reads a whole JSON document; 422 with everything that is wrong in it.
pub fn read<T: FromInput>(document: Value) -> Result<T, Problem> {
    read_with(document, T::from_input)
}

/// The same for what is read with something beside the document, such as the time.
pub fn read_with<T>(
    document: Value,
    reader: impl FnOnce(Value, &mut At<'_>) -> Option<T>,
) -> Result<T, Problem> {
    read_as(document, false, reader)
}

/// Reads the parameters of a query, all of which are texts: numbers and flags are read from theirs.
pub(crate) fn read_texts<T: FromInput>(parameters: Value) -> Result<T, Problem> {
    read_as(parameters, true, T::from_input)
}

fn read_as<T>(
    document: Value,
    is_text: bool,
    reader: impl FnOnce(Value, &mut At<'_>) -> Option<T>,
) -> Result<T, Problem> {
    let mut found = Found::default();
    let mut at = At {
        place: Place {
            parent: None,
            step: Step::Root,
        },
        found: &mut found,
        is_text,
    };
    let value = reader(document, &mut at);
    match value {
        Some(value) if found.count == 0 => Ok(value),
        Some(_) | None => Err(found.into_problem()),
    }
}

impl At<'_> {
    /// Keeps a fault of this place.
    pub fn refuse(&mut self, code: &str, detail: impl fmt::Display) {
        self.found.count += 1;
        if self.found.others.len() < ERRORS_MAX {
            let violation = Violation::new(self.pointer(), code, detail.to_string());
            self.found.others.push(violation);
        }
    }

    /// Keeps what somebody else found wrong below this place.
    pub fn refuse_all(&mut self, violations: Vec<Violation>) {
        self.found.count += violations.len();
        let room = ERRORS_MAX.saturating_sub(self.found.others.len());
        let pointer = self.pointer();
        let placed = violations.into_iter().map(|one| one.under(&pointer));
        self.found.others.extend(placed.take(room));
    }

    /// Whether nothing was found wrong, here or anywhere before.
    pub fn is_clean(&self) -> bool {
        self.found.count == 0
    }

    /// The place of a field of this object, for what is found wrong with it later than it was read.
    pub fn field<'b>(&'b mut self, name: &'b str) -> At<'b> {
        self.below(Step::Field(name))
    }

    /// The place of an item of this list.
    pub fn item(&mut self, index: usize) -> At<'_> {
        self.below(Step::Item(index))
    }

    pub(crate) fn missing(&mut self, name: &str) {
        let detail = format_args!("the field `{name}` is required");
        self.field(name).refuse("missing-field", detail);
    }

    pub(crate) fn unknown(&mut self, name: &str) {
        self.found.count += 1;
        if self.found.unknown.len() < ERRORS_MAX {
            let violation = unknown_field(&self.pointer(), name);
            self.found.unknown.push(violation);
        }
    }

    /// 422 `invalid-field`: not of the type that belongs here.
    pub(crate) fn mistyped<T>(&mut self, expected: &str) -> Option<T> {
        self.refuse(MISTYPED, format_args!("must be {expected}"));
        None
    }

    fn below<'b>(&'b mut self, step: Step<'b>) -> At<'b> {
        At {
            place: Place {
                parent: Some(&self.place),
                step,
            },
            found: &mut *self.found,
            is_text: self.is_text,
        }
    }

    fn pointer(&self) -> String {
        let mut steps = Vec::new();
        let mut next = Some(&self.place);
        while let Some(place) = next {
            steps.push(place.step);
            next = place.parent;
        }
        let mut pointer = String::new();
        for step in steps.into_iter().rev() {
            match step {
                Step::Root => {}
                Step::Field(name) => {
                    pointer.push('/');
                    pointer.push_str(&escape(&shown(name)));
                }
                Step::Item(index) => pointer.push_str(&format!("/{index}")),
            }
        }
        pointer
    }

    /// In a query, what the text says; otherwise the value itself.
    fn parsed(&self, value: Value) -> Value {
        match value {
            Value::String(text) if self.is_text => {
                let plain: Option<Value> = serde_json::from_str(&text).ok();
                // In the one form in which it is written, so without spaces around it.
                let plain = plain.filter(|plain| {
                    serde_json::to_string(plain).is_ok_and(|written| written == text)
                });
                plain.unwrap_or(Value::String(text))
            }
            value => value,
        }
    }
}

impl Found {
    fn into_problem(self) -> Problem {
        let mut errors = self.unknown;
        errors.extend(self.others);
        errors.truncate(ERRORS_MAX);
        let more = self.count.saturating_sub(errors.len());
        Problem::invalid_with_more(errors, more)
    }
}

/// What is said of a field that is not known, in the object that `at` points to. Its name is told short and printable.
fn unknown_field(at: &str, name: &str) -> Violation {
    let name = shown(name);
    let pointer = format!("{at}/{}", escape(&name));
    let detail = format!("there is no field `{name}` here");
    Violation::new(pointer, "unknown-field", detail)
}

/// A key, short and printable.
fn shown(key: &str) -> String {
    let printable = key.chars().filter(|character| !character.is_control());
    printable.take(KEY_CHARS_SHOWN).collect()
}

/// Escapes one step of a JSON pointer (RFC 6901).
fn escape(step: &str) -> String {
    step.replace('~', "~0").replace('/', "~1")
}

impl FromInput for Value {
    fn from_input(value: Value, _at: &mut At<'_>) -> Option<Self> {
        Some(value)
    }
}

/// Any object, for whoever leaves its members to somebody else.
impl FromInput for Map<String, Value> {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        match value {
            Value::Object(members) => Some(members),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => at.mistyped("an object"),
        }
    }
}

impl FromInput for String {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        match value {
            Value::String(text) => Some(text),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => at.mistyped("a text"),
        }
    }
}

/// Whether its secret can be one is told with the rest of the operation.
impl FromInput for EnvironmentValue {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let read = serde_json::from_value(value).ok();
        read.or_else(|| at.mistyped("a text or {\"secret\": NAME}"))
    }
}

impl FromInput for bool {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let flag = at.parsed(value).as_bool();
        flag.or_else(|| at.mistyped("true or false"))
    }
}

impl FromInput for i64 {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let number = at.parsed(value).as_i64();
        number.or_else(|| at.mistyped("a whole number below 2^63"))
    }
}

impl FromInput for u64 {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let number = at.parsed(value).as_u64();
        number.or_else(|| at.mistyped("a whole number from 0"))
    }
}

/// Any number, for whoever has a range and a code of its own for what is outside.
impl FromInput for Number {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        match at.parsed(value) {
            Value::Number(number) => Some(number),
            Value::Null
            | Value::Bool(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => at.mistyped("a number"),
        }
    }
}

impl FromInput for Timestamp {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let time = value.as_str().and_then(|text| text.parse().ok());
        time.or_else(|| at.mistyped("a time such as 2026-01-31T12:00:00Z"))
    }
}

impl FromInput for Uuid {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let id = value.as_str().and_then(hyphenated);
        id.or_else(|| at.mistyped("a UUID"))
    }
}

/// A UUID in the one form that is read.
pub fn hyphenated(text: &str) -> Option<Uuid> {
    let text = Some(text).filter(|text| text.len() == HYPHENATED_CHARS)?;
    Uuid::try_parse(text).ok()
}

macro_rules! ids {
    ($($id:ident),*) => {$(
        impl FromInput for $id {
            fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
                Uuid::from_input(value, at).map(Self)
            }
        }
    )*};
}

ids!(CommandId, HostId, SetId);

impl<T: FromInput> FromInput for Option<T> {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_input(value, at).map(Some),
        }
    }

    fn left_out() -> Option<Self> {
        Some(None)
    }
}

impl<T: FromInput> FromInput for Vec<T> {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let Value::Array(items) = value else {
            return at.mistyped("a list");
        };
        let count = items.len();
        let read: Self = items
            .into_iter()
            .enumerate()
            .filter_map(|(index, item)| T::from_input(item, &mut at.item(index)))
            .collect();
        (read.len() == count).then_some(read)
    }
}

impl<T: FromInput> FromInput for BTreeMap<String, T> {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let Value::Object(members) = value else {
            return at.mistyped("an object");
        };
        let read = members
            .into_iter()
            .filter_map(|(name, member)| {
                let member = T::from_input(member, &mut at.field(&name))?;
                Some((name, member))
            })
            .collect();
        // Without the wrong ones, which are told: whoever looks at the names still sees the others.
        Some(read)
    }
}
