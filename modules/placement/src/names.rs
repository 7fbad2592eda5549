//! Names that callers give to products and tenants: in paths, and their length. And how fields may be spelled.

use axum::extract::{FromRequestParts, RawPathParams};
use fleetwright_plugin_api::sdk::Problem;
use fleetwright_plugin_api::sdk::axum::http::request::Parts;
use fleetwright_protocol::text;
use serde_json::{Map, Value};

/// Of a product or a tenant, in characters.
pub const CHARS_MAX: usize = 128;

/// The only parameter of a path, where it is such a name: one line of text. Anything else is 400 `malformed`.
#[derive(Clone, Debug)]
pub struct PathName(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let refused = || {
            Problem::malformed(format!(
                "The name in the path is not one line of at most {CHARS_MAX} characters."
            ))
        };
        let parameters = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| refused())?;
        let name = parameters.iter().map(|(_, name)| name).next();
        name.filter(|name| !name.is_empty() && text::is_line(name, CHARS_MAX))
            .map(|name| Self(name.to_owned()))
            .ok_or_else(refused)
    }
}

/// The fields of an object under the names they are documented with: `ceilingUsd` is read as `ceiling_usd`. Where both are
/// given the other spelling stays, as an unknown field.
pub fn snake_case(value: Value) -> Value {
    let Value::Object(members) = value else {
        return value;
    };
    let (plain, other): (Map<String, Value>, Map<String, Value>) = members
        .into_iter()
        .partition(|(name, _)| !name.bytes().any(|byte| byte.is_ascii_uppercase()));
    let mut read = plain;
    for (name, value) in other {
        let mut snake = String::with_capacity(name.len() + 4);
        for (place, letter) in name.char_indices() {
            if letter.is_ascii_uppercase() && place > 0 {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
        }
        let is_camel = name.starts_with(|first: char| first.is_ascii_lowercase())
            && !name.contains('_')
            && !read.contains_key(&snake);
        read.insert(if is_camel { snake } else { name }, value);
    }
    Value::Object(read)
}
