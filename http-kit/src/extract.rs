//! Extractors for handlers. Each answers a problem, never axum's plain text.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::response::IntoResponse as _;
use fleetwright_protocol::Violation;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{Problem, json};

/// A JSON body. 415 without the media type, 413 when too large, 400 `malformed`, 422 `unknown-field` or
/// `invalid-field` with pointers. `T` must use neither `flatten` nor `deny_unknown_fields`: both hide fields
/// from the check.
#[derive(Clone, Copy, Debug)]
pub struct JsonBody<T>(pub T);

/// Like [`JsonBody`], and `T::default()` for a request without a body.
#[derive(Clone, Copy, Debug)]
pub struct OptionalJsonBody<T>(pub T);

/// The first (or only) id of the path, as any typed id. Anything but a hyphenated UUID is 400 `malformed`: the other
/// forms would make several addresses of one resource.
#[derive(Clone, Copy, Debug)]
pub struct PathId<T>(pub T);

/// The first two ids of the path.
#[derive(Clone, Copy, Debug)]
pub struct PathIds<A, B>(pub A, pub B);

/// The query string. An unknown parameter is a 422, so that a typo is not ignored; text where a number belongs is
/// a 400.
#[derive(Clone, Copy, Debug)]
pub struct StrictQuery<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        require_json(request.headers())?;
        let bytes = read_body(request, state).await?;
        json::build(json::parse(&bytes)?).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let media_type = require_json(request.headers());
        let bytes = read_body(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        media_type?;
        json::build(json::parse(&bytes)?).map(Self)
    }
}

impl<S: Send + Sync, T: From<Uuid>> FromRequestParts<S> for PathId<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let [id] = path_ids(parts, state).await?;
        Ok(Self(id.into()))
    }
}

impl<S: Send + Sync, A: From<Uuid>, B: From<Uuid>> FromRequestParts<S> for PathIds<A, B> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let [first, second] = path_ids(parts, state).await?;
        Ok(Self(first.into(), second.into()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for StrictQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

/// 415 unless the body is declared as JSON (in UTF-8, if it says).
pub fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let declared = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let mut parts = declared.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let is_json = essence.eq_ignore_ascii_case("application/json");
    let is_utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        Some(_) | None => true,
    });
    let encoded = headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| encoding != "identity");
    if is_json && is_utf8 && !encoded {
        Ok(())
    } else {
        Err(Problem::media_type())
    }
}

async fn path_ids<S: Send + Sync, const N: usize>(
    parts: &mut Parts,
    state: &S,
) -> Result<[Uuid; N], Problem> {
    /// Digits and hyphens of the one form.
    const HYPHENATED_CHARS: usize = 36;
    let refused = || Problem::malformed("The id in the path is not a UUID.");
    let parameters = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| refused())?;
    let mut texts = parameters.iter().map(|(_, text)| text);
    let mut ids = [Uuid::nil(); N];
    for id in &mut ids {
        let text = texts.next().filter(|text| text.len() == HYPHENATED_CHARS);
        *id = text
            .and_then(|text| Uuid::try_parse(text).ok())
            .ok_or_else(refused)?;
    }
    Ok(ids)
}

async fn read_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state)
        .await
        .map_err(|rejection| {
            if rejection.into_response().status() == StatusCode::PAYLOAD_TOO_LARGE {
                Problem::too_large()
            } else {
                Problem::malformed("The body could not be read.")
            }
        })
}

fn query<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let mut violations = Vec::new();
    let parsed = form_deserializer(text, |name| {
        let detail = format!("There is no query parameter `{name}` here.");
        let pointer = format!("/{}", json::escape(&name));
        violations.push(Violation::new(pointer, "unknown-field", detail));
    });
    match parsed {
        Ok(value) if violations.is_empty() => Ok(value),
        Ok(_) => Err(Problem::invalid(violations)),
        // A word where a number belongs was never understood; a word that is not among those known was.
        Err((_, detail)) if violations.is_empty() && !detail.contains("unknown variant") => {
            Err(Problem::malformed(detail))
        }
        Err((pointer, detail)) => {
            violations.push(Violation::new(pointer, "invalid-field", detail));
            Err(Problem::invalid(violations))
        }
    }
}

fn form_deserializer<T: DeserializeOwned>(
    text: &str,
    mut unknown: impl FnMut(String),
) -> Result<T, (String, String)> {
    let mut track = serde_path_to_error::Track::new();
    let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(text.as_bytes()));
    let typed = serde_path_to_error::Deserializer::new(pairs, &mut track);
    let parsed = serde_ignored::deserialize(typed, |path| unknown(path.to_string()));
    parsed.map_err(|error| {
        let path = track.path().to_string();
        let pointer = if path == "." {
            String::new()
        } else {
            format!("/{path}")
        };
        (pointer, format!("The query parameter `{path}`: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    struct Wanted {
        limit: Option<u32>,
        q: Option<String>,
        order: Option<Order>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Order {
        Up,
        Down,
    }

    #[test]
    fn a_query_is_read_or_refused_never_ignored() {
        let read: Wanted = query("limit=5&q=a%20b&order=up").expect("read");
        assert_eq!(read.order, Some(Order::Up));
        assert_eq!(read.limit, Some(5));
        assert_eq!(read.q.as_deref(), Some("a b"));
        assert_eq!(query::<Wanted>("").expect("empty"), Wanted::default());
        let refused = |text| {
            let problem = query::<Wanted>(text).expect_err("refused");
            let pointer = problem.errors().first().map(|one| one.pointer.clone());
            (problem.code().to_owned(), pointer.unwrap_or_default())
        };
        assert_eq!(refused("limt=5"), ("unknown-field".into(), "/limt".into()));
        assert_eq!(refused("order=sideways").0, "invalid-field");
        for malformed in ["limit=x", "limit=-1", "limit=1&limit=2", "limit="] {
            assert_eq!(refused(malformed).0, "malformed", "{malformed}");
        }
    }

    #[test]
    fn only_uncompressed_utf8_json_is_accepted() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs
                .iter()
                .map(|(name, value)| {
                    (
                        http::HeaderName::from_static(name),
                        http::HeaderValue::from_static(value),
                    )
                })
                .collect()
        };
        for accepted in ["application/json", "Application/JSON; charset=\"UTF-8\""] {
            assert!(require_json(&headers(&[("content-type", accepted)])).is_ok());
        }
        for refused in [
            "text/plain",
            "",
            "application/json; charset=latin1",
            "application/jsonp",
        ] {
            assert!(require_json(&headers(&[("content-type", refused)])).is_err());
        }
        let zipped = [
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
        ];
        assert!(require_json(&headers(&zipped)).is_err());
        assert!(require_json(&HeaderMap::new()).is_err());
    }
}
