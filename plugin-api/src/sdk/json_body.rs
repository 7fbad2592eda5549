//! JSON bodies, read strictly: duplicate keys, deep nesting and unknown fields are errors, and every unknown field is
//! told with its pointer, not only the first.

use std::fmt;

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use fleetwright_protocol::Violation;
use http::header;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Number, Value};
use serde_path_to_error::Segment;

use super::Problem;

/// Deepest nesting of a body (the HTTP API's limit).
const DEPTH_MAX: usize = 64;
/// Unknown fields told in one answer; a body of 1 MiB can hold a hundred thousand.
const UNKNOWN_FIELDS_MAX: usize = 50;

/// The request's body as `T`. Not JSON by its content type: 415 `media-type`; not parseable: 400 `malformed`; unknown
/// fields: 422 `unknown-field`; otherwise not a `T`: 422 `invalid-field`. `T` needs no `deny_unknown_fields`.
#[derive(Clone, Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let content_type = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(is_json) {
            return Err(Problem::new(
                415,
                "media-type",
                "The body must be application/json.",
            ));
        }
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|_| Problem::malformed("The body could not be read."))?;
        parse_json(&body).map(Self)
    }
}

/// Parses a body as [`JsonBody`] does.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let value = parse_value(body)?;
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&value, &mut track);
    let parsed: Result<T, serde_json::Error> = serde_ignored::deserialize(tracked, |path| {
        if unknown.len() < UNKNOWN_FIELDS_MAX {
            unknown.push(unknown_field(ignored_pointer(&path)));
        }
    });
    match parsed {
        Ok(parsed) if unknown.is_empty() => Ok(parsed),
        Ok(_) => Err(Problem::invalid("unknown-field", unknown)),
        Err(error) => {
            let violation = violation(&track.path(), &error.to_string());
            let code = if violation.code == "unknown-field" {
                "unknown-field"
            } else {
                "invalid-field"
            };
            unknown.insert(0, violation);
            Err(Problem::invalid(code, unknown))
        }
    }
}

/// Parses JSON without duplicate keys, at most 64 levels deep.
pub fn parse_value(body: &[u8]) -> Result<Value, Problem> {
    let malformed = |error: serde_json::Error| {
        Problem::malformed(format!("The body is not valid JSON: {error}"))
    };
    let text =
        std::str::from_utf8(body).map_err(|_| Problem::malformed("The body is not UTF-8."))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Strict { depth: 0 }
        .deserialize(&mut deserializer)
        .map_err(malformed)?;
    deserializer.end().map_err(malformed)?;
    Ok(value)
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn unknown_field(pointer: String) -> Violation {
    let name = pointer.rsplit('/').next().unwrap_or_default().to_owned();
    Violation::new(
        pointer,
        "unknown-field",
        format!("There is no field `{name}`."),
    )
}

/// Serde's message, and where: for a missing or unknown field the pointer names that field.
fn violation(path: &serde_path_to_error::Path, message: &str) -> Violation {
    let pointer = error_pointer(path);
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

fn error_pointer(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => pointer.push_str(&format!("/{}", escape(key))),
            // Not part of the document's path, or not known.
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
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

/// RFC 6901.
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Builds a `Value`, refusing what `Value`'s own deserialization lets pass.
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom("it is nested deeper than 64 levels"));
        }
        Ok(Self {
            depth: self.depth + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
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

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number is out of range"))
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

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(self.deeper()?)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(self.deeper()?)?;
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("the key `{key}` appears twice")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Inner {
        #[expect(dead_code, reason = "only its presence matters")]
        size: u32,
    }

    #[derive(Debug, Deserialize)]
    struct Outer {
        #[expect(dead_code, reason = "only its presence matters")]
        name: String,
        #[serde(default)]
        #[expect(dead_code, reason = "only its presence matters")]
        inner: Vec<Inner>,
    }

    fn problem(body: &str) -> (u16, String, Vec<(String, String)>) {
        let problem = parse_json::<Outer>(body.as_bytes()).unwrap_err();
        let errors = problem
            .errors
            .into_iter()
            .map(|error| (error.pointer, error.code))
            .collect();
        (problem.status, problem.code, errors)
    }

    #[test]
    fn malformed_bodies_are_400() {
        let deep = format!("{{\"name\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        let slightly_deep = format!("{{\"name\":{}1{}}}", "[".repeat(65), "]".repeat(65));
        let cases = [
            "{\"name\":",
            "{\"name\":1e999}",
            "{\"name\":\"a\",\"name\":\"b\"}",
            "{} {}",
            "",
            &deep,
            &slightly_deep,
        ];
        for body in cases {
            assert_eq!(
                problem(body).0,
                400,
                "{}",
                body.chars().take(40).collect::<String>()
            );
        }
        assert_eq!(
            parse_json::<Outer>(b"{\"name\":\"\xff\"}")
                .unwrap_err()
                .code,
            "malformed"
        );
    }

    #[test]
    fn every_unknown_field_is_told_with_its_pointer() {
        let (status, code, errors) =
            problem(r#"{"name":"a","batchsize":1,"inner":[{"size":1,"a/b":2}]}"#);
        assert_eq!((status, code.as_str()), (422, "unknown-field"));
        let pointers: Vec<&str> = errors.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers, ["/batchsize", "/inner/0/a~1b"]);
    }

    #[test]
    fn wrong_types_and_missing_fields_name_their_place() {
        assert_eq!(
            problem(r#"{"name":1}"#).2,
            [("/name".to_owned(), "invalid-field".to_owned())]
        );
        assert_eq!(
            problem(r#"{"name":"a","inner":[{}]}"#).2,
            [("/inner/0/size".to_owned(), "missing-field".to_owned())]
        );
        assert_eq!(
            problem(r#"{"name":"a","inner":[{"size":-1}]}"#).1,
            "invalid-field"
        );
    }

    #[test]
    fn a_good_body_is_read() {
        assert!(parse_json::<Outer>(br#"{"name":"a","inner":[{"size":3}]}"#).is_ok());
    }
}
