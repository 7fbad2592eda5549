//! Reading a request body strictly: one JSON document in UTF-8, no duplicate keys, bounded depth, and no field
//! that the target does not know. Pure.

use std::fmt;

use fleetwright_protocol::Violation;
use serde::de::{self, DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::Problem;

/// Nesting the API accepts, as it promises. Well below what the parser's stack takes.
pub const DEPTH_MAX: usize = 64;

/// Parses a document; 400 `malformed` if it is not one.
pub fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| Problem::malformed("The body is not UTF-8."))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Strict { depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| Problem::malformed(format!("The body is not valid JSON: {error}")))
}

/// Builds a `T`; 422 with every unknown field, and with the first value of a wrong type or missing field.
pub fn build<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    let mut violations = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let typed = serde_path_to_error::Deserializer::new(value, &mut track);
    let built = serde_ignored::deserialize(typed, |path| {
        violations.push(unknown_field(ignored_pointer(&path)));
    });
    let built = built.map_err(|error: serde_json::Error| error.to_string());
    match built {
        Ok(value) if violations.is_empty() => Ok(value),
        Ok(_) => Err(Problem::invalid(violations)),
        Err(message) => {
            violations.push(violation(&track.path(), &message));
            Err(Problem::invalid(violations))
        }
    }
}

/// Parses a body and builds a `T` of it.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    build(parse(bytes)?)
}

fn unknown_field(pointer: String) -> Violation {
    let name = pointer.rsplit('/').next().unwrap_or_default().to_owned();
    let detail = format!("There is no field `{name}` here.");
    Violation::new(pointer, "unknown-field", detail)
}

/// Serde's message, and where: for a missing or unknown field the pointer names that field.
fn violation(path: &serde_path_to_error::Path, message: &str) -> Violation {
    let pointer = tracked_pointer(path);
    let named = |prefix: &str| {
        message
            .strip_prefix(prefix)
            .and_then(|rest| rest.split('`').next())
    };
    if let Some(field) = named("missing field `") {
        let detail = format!("The field `{field}` is required.");
        return Violation::new(
            format!("{pointer}/{}", escape(field)),
            "missing-field",
            detail,
        );
    }
    if let Some(field) = named("unknown field `") {
        let last = format!("/{}", escape(field));
        let pointer = if pointer.ends_with(&last) {
            pointer
        } else {
            pointer + &last
        };
        return unknown_field(pointer);
    }
    Violation::new(pointer, "invalid-field", message.to_owned())
}

/// Escapes one step of a JSON pointer.
pub fn escape(step: &str) -> String {
    step.replace('~', "~0").replace('/', "~1")
}

fn ignored_pointer(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}/{index}", ignored_pointer(parent)),
        Path::Map { parent, key } => format!("{}/{}", ignored_pointer(parent), escape(key)),
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => ignored_pointer(parent),
    }
}

fn tracked_pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(format!("/{index}")),
            Segment::Map { key } => Some(format!("/{}", escape(key))),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

/// Builds a `Value`, refusing what `serde_json` lets pass: duplicate keys, and depth beyond ours.
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: de::Error>(&self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom(format_args!("nested deeper than {DEPTH_MAX}")));
        }
        Ok(Self {
            depth: self.depth + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self.deeper()?)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let value = access.next_value_seed(self.deeper()?)?;
            if members.contains_key(&key) {
                return Err(de::Error::custom("a key is there twice"));
            }
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Body {
        name: String,
        #[serde(default)]
        inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Inner {
        size: u32,
    }

    fn nested(depth: usize) -> String {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn what_is_not_one_clean_document_is_malformed() {
        let deep = nested(DEPTH_MAX + 1);
        let very_deep = nested(10_000);
        let cases: [&[u8]; 11] = [
            b"",
            b"{",
            b"{\"a\":1",
            b"{} {}",
            b"\xff\xfe",
            b"{\"a\":1,\"a\":2}",
            b"{\"x\":{\"a\":1,\"a\":1}}",
            b"1e999",
            b"NaN",
            deep.as_bytes(),
            very_deep.as_bytes(),
        ];
        for case in cases {
            let problem = parse(case).expect_err("malformed");
            assert_eq!(problem.code(), "malformed", "{:?}", case.get(..20));
        }
        assert!(parse(nested(DEPTH_MAX).as_bytes()).is_ok());
    }

    #[test]
    fn a_clean_document_is_kept_as_it_is() {
        let text = r#"{"a":[1,-2,3.5,null,true,"ü\n"],"b":{"c":18446744073709551615}}"#;
        let plain: Value = serde_json::from_str(text).expect("json");
        assert_eq!(parse(text.as_bytes()).expect("parsed"), plain);
    }

    #[test]
    fn every_unknown_field_is_named_with_its_place() {
        let problem = build::<Body>(
            json!({"name": "x", "nmae": 1, "inner": [{"size": 1}, {"size": 1, "a/b": 2}]}),
        )
        .expect_err("unknown");
        assert_eq!(problem.code(), "unknown-field");
        let pointers: Vec<_> = problem
            .errors()
            .iter()
            .map(|one| one.pointer.as_str())
            .collect();
        // The order in which the members are visited is the map's own.
        let mut sorted = pointers.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, ["/inner/1/a~1b", "/nmae"]);
    }

    #[test]
    fn a_wrong_type_points_at_the_value() {
        let problem =
            build::<Body>(json!({"name": "x", "inner": [{"size": "big"}]})).expect_err("wrong");
        assert_eq!(problem.code(), "invalid-field");
        assert_eq!(problem.errors()[0].pointer, "/inner/0/size");
        let problem = build::<Body>(json!({"name": "x", "inner": [{}]})).expect_err("missing");
        assert_eq!(problem.code(), "missing-field");
        assert_eq!(problem.errors()[0].pointer, "/inner/0/size");
    }
}
