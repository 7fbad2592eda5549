//! Parsing a request body strictly: one JSON document in UTF-8, no duplicate keys, bounded depth. What it says is read
//! in `input`. Pure.

use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::Problem;

/// Nesting the API accepts, as it promises. Well below what the parser's stack takes.
pub const DEPTH_MAX: usize = 64;

/// Members of one object. The largest objects of the API name some hundreds of things; long lists are arrays. A body of
/// nothing but unknown fields costs no more than this to look through.
pub const MEMBERS_MAX: usize = 10_000;

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
            if members.len() == MEMBERS_MAX {
                let detail = format_args!("an object of more than {MEMBERS_MAX} members");
                return Err(de::Error::custom(detail));
            }
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
    fn an_object_has_an_end() {
        let object = |members: usize| {
            let members: Vec<String> = (0..members).map(|index| format!("\"{index}\":0")).collect();
            format!("{{\"in\":{{{}}}}}", members.join(","))
        };
        assert!(parse(object(MEMBERS_MAX).as_bytes()).is_ok());
        let problem = parse(object(MEMBERS_MAX + 1).as_bytes()).expect_err("too many");
        assert_eq!(problem.code(), "malformed");
    }

    #[test]
    fn a_clean_document_is_kept_as_it_is() {
        let text = r#"{"a":[1,-2,3.5,null,true,"ü\n"],"b":{"c":18446744073709551615}}"#;
        let plain: Value = serde_json::from_str(text).expect("json");
        assert_eq!(parse(text.as_bytes()).expect("parsed"), plain);
    }
}
