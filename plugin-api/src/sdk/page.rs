//! Lists in pages: `?limit=` (default 50, at most 500) and an opaque `?cursor=`.

use axum::extract::{FromRequestParts, Query};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleetwright_protocol::Violation;
use http::request::Parts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Problem;

/// The HTTP API's default and largest page.
const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 500;
/// A cursor holds a few keys; anything longer was not made here.
const CURSOR_CHARS_MAX: usize = 1_024;

/// The page a client asks for.
#[derive(Clone, Debug)]
pub struct Paging {
    pub limit: u32,
    cursor: Option<String>,
}

/// A page as it is answered.
#[derive(Clone, Debug, Serialize)]
pub struct PageView<T> {
    pub items: Vec<T>,
    pub next_cursor: Option<String>,
}

impl Paging {
    /// The keys to continue after; none on the first page. What was not made by [`PageView::new`] is 400.
    pub fn cursor<C: DeserializeOwned>(&self) -> Result<Option<C>, Problem> {
        self.cursor.as_deref().map(decode).transpose()
    }
}

impl<T> PageView<T> {
    /// `next` are the keys of the last item, if there are more.
    pub fn new<C: Serialize>(items: Vec<T>, next: Option<&C>) -> Self {
        Self {
            items,
            next_cursor: next.map(encode),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Paging {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Raw {
            limit: Option<String>,
            cursor: Option<String>,
        }
        let Query(raw) = Query::<Raw>::try_from_uri(&parts.uri)
            .map_err(|_| Problem::malformed("The query cannot be read."))?;
        let limit = match raw.limit {
            None => LIMIT_DEFAULT,
            Some(text) => limit(&text)?,
        };
        Ok(Self {
            limit,
            cursor: raw.cursor,
        })
    }
}

fn limit(text: &str) -> Result<u32, Problem> {
    let in_range = text
        .parse::<u32>()
        .ok()
        .filter(|limit| (1..=LIMIT_MAX).contains(limit));
    in_range.ok_or_else(|| {
        let detail = format!("limit must be a whole number from 1 to {LIMIT_MAX}");
        Problem::invalid(vec![Violation::new("/limit", "limit-invalid", detail)])
    })
}

/// The keys' JSON and a check value, in one word. The check value tells a mangled or invented cursor; it protects
/// nothing, since a cursor only says where to continue in what the caller may read anyway.
fn encode<C: Serialize>(keys: &C) -> String {
    let mut bytes = serde_json::to_vec(keys).unwrap_or_default();
    bytes.extend_from_slice(&check_value(&bytes).to_le_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode<C: DeserializeOwned>(cursor: &str) -> Result<C, Problem> {
    let forged = || Problem::malformed("The cursor is not one of ours.");
    if cursor.len() > CURSOR_CHARS_MAX {
        return Err(forged());
    }
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| forged())?;
    let (json, check) = bytes.split_last_chunk::<8>().ok_or_else(forged)?;
    if u64::from_le_bytes(*check) != check_value(json) {
        return Err(forged());
    }
    serde_json::from_slice(json).map_err(|_| forged())
}

/// FNV-1a.
fn check_value(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_a_forged_one_is_400() {
        let made = encode(&(7_i64, "name"));
        assert_eq!(
            decode::<(i64, String)>(&made).unwrap(),
            (7, "name".to_owned())
        );
        let other_shape = encode(&"x");
        for forged in [
            "",
            "abc",
            "!!!",
            "eyJpZCI6MX0",
            other_shape.as_str(),
            &made[1..],
        ] {
            assert_eq!(
                decode::<(i64, String)>(forged).unwrap_err().status(),
                400,
                "{forged}"
            );
        }
    }

    #[test]
    fn limits_outside_1_to_500_are_422() {
        assert_eq!(limit("500").unwrap(), 500);
        for bad in ["0", "501", "-1", "x", ""] {
            assert_eq!(limit(bad).unwrap_err().status(), 422);
        }
    }
}
