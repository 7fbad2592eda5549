//! Extractors for handlers. Each answers a problem, never axum's plain text.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::response::IntoResponse as _;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::input::{self, FromInput, hyphenated};
use crate::{Problem, json};

/// A JSON body. 415 without the media type, 413 when too large, 400 `malformed` if it is not one document, and 422 with
/// everything that is wrong in it.
#[derive(Clone, Copy, Debug)]
pub struct JsonBody<T>(pub T);

/// Like [`JsonBody`]; a request without a body is as good as an empty object.
#[derive(Clone, Copy, Debug)]
pub struct OptionalJsonBody<T>(pub T);

/// The first (or only) id of the path, as any typed id. Anything but a hyphenated UUID is 400 `malformed`: the other
/// forms would make several addresses of one resource.
#[derive(Clone, Copy, Debug)]
pub struct PathId<T>(pub T);

/// The first two ids of the path.
#[derive(Clone, Copy, Debug)]
pub struct PathIds<A, B>(pub A, pub B);

impl<S: Send + Sync, T: FromInput> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        require_json(request.headers())?;
        let bytes = read_body(request, state).await?;
        input::read(json::parse(&bytes)?).map(Self)
    }
}

impl<S: Send + Sync, T: FromInput> FromRequest<S> for OptionalJsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let media_type = require_json(request.headers());
        let bytes = read_body(request, state).await?;
        if bytes.is_empty() {
            return input::read(Value::Object(Map::new())).map(Self);
        }
        media_type?;
        input::read(json::parse(&bytes)?).map(Self)
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
    let refused = || Problem::malformed("The id in the path is not a UUID.");
    let parameters = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| refused())?;
    let mut texts = parameters.iter().map(|(_, text)| text);
    let mut ids = [Uuid::nil(); N];
    for id in &mut ids {
        *id = texts.next().and_then(hyphenated).ok_or_else(refused)?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
