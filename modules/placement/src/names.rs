//! The length of names that callers give to products and tenants, and how fields may be spelled.

use serde_json::{Map, Value};

/// Of a product or a tenant, in characters.
pub const CHARS_MAX: usize = 128;

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
