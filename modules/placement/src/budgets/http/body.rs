//! A JSON body whose amounts of money are still the decimals that were written: a parsed number would be a float by now, and
//! the places it does not keep could not be refused.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use fleetwright_plugin_api::sdk::{FromInput, JsonBody, Problem, read};
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::money::Usd;

/// Like `JsonBody`; a number of a field whose name ends in `usd` is read from its text.
#[derive(Clone, Copy, Debug)]
pub struct MoneyBody<T>(pub T);

impl<S: Send + Sync, T: FromInput> FromRequest<S> for MoneyBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let whole = Request::from_parts(parts.clone(), body);
        // The server has limited it; what fails here is a connection that ended.
        let bytes = Bytes::from_request(whole, state)
            .await
            .map_err(|_| Problem::malformed("The body could not be read."))?;
        let request = Request::from_parts(parts, Body::from(bytes.clone()));
        let JsonBody(document) = JsonBody::<Value>::from_request(request, state).await?;
        read(with_decimals(document, &bytes)).map(Self)
    }
}

/// The document with the numbers of its amounts as texts, wherever they are.
fn with_decimals(mut document: Value, bytes: &[u8]) -> Value {
    // It was parsed before: no deeper than the API takes, and without a name that is there twice.
    if let Ok(text) = serde_json::from_slice(bytes) {
        write_decimals(&mut document, text);
    }
    document
}

/// Each level is read once more than the one around it, and only where there may be amounts.
fn write_decimals(value: &mut Value, text: &RawValue) {
    match value {
        Value::Object(members) => {
            let texts: Option<BTreeMap<String, &RawValue>> = serde_json::from_str(text.get()).ok();
            for (name, text) in texts.unwrap_or_default() {
                let Some(member) = members.get_mut(&name) else {
                    continue;
                };
                if member.is_number() && name.to_ascii_lowercase().ends_with("usd") {
                    let decimal = Usd::from_json_number(text.get()).map(|usd| usd.to_string());
                    *member = Value::String(decimal.unwrap_or_else(|_| text.get().to_owned()));
                } else {
                    write_decimals(member, text);
                }
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            let texts: Option<Vec<&RawValue>> = serde_json::from_str(text.get()).ok();
            for (item, text) in items.iter_mut().zip(texts.unwrap_or_default()) {
                write_decimals(item, text);
            }
        }
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::request::Spent;
    use super::*;

    #[test]
    fn an_amount_is_what_was_written_to_the_last_place() {
        let cases = [
            ("100", Some(100_000_000)),
            ("0.1", Some(100_000)),
            ("1e2", Some(100_000_000)),
            ("\"0.1\"", Some(100_000)),
            // As floats these are 9007199254.740994, 0.1 and 1.
            ("9007199254.740993", Some(9_007_199_254_740_993)),
            ("9223372036854.775807", Some(i64::MAX)),
            ("0.10000000000000000001", None),
            ("0.9999999999999999999", None),
            ("9223372036854.775808", None),
            ("1e-7", None),
            ("-0.0", None),
        ];
        for (text, expected) in cases {
            let body = format!("{{\"amount\\u0055sd\": {text}, \"key\": \"k\"}}");
            let document = serde_json::from_str(&body).expect("JSON");
            let spent = read::<Spent>(with_decimals(document, body.as_bytes()));
            let micros = spent.as_ref().ok().map(|spent| spent.amount_micros);
            assert_eq!(micros, expected, "{text}");
            if let Err(problem) = spent {
                assert_eq!(problem.errors().first().expect("one").code, "money-invalid");
            }
        }
    }
    #[test]
    fn amounts_of_children_are_texts_too_and_nothing_else_is() {
        let body = r#"{"estimate_usd": 1e-6, "priority": 1.5, "children": [
            {"estimateUsd": 9007199254.740993, "children": [{"estimate_usd": 0.10000000000000000001}]}, 7, [0.5]]}"#;
        let document = serde_json::from_str(body).expect("JSON");
        let expected = json!({"estimate_usd": "0.000001", "priority": 1.5, "children": [
            {"estimateUsd": "9007199254.740993", "children": [{"estimate_usd": "0.10000000000000000001"}]}, 7, [0.5]]});
        assert_eq!(with_decimals(document, body.as_bytes()), expected);
    }
}
