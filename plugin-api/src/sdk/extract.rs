//! What handlers take from a request besides its body.

use axum::extract::{FromRequestParts, Query, RawPathParams};
use http::request::Parts;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{CallContext, Problem};

/// Who the request is for. The server has already checked the role and the licence.
#[derive(Clone, Debug)]
pub struct Caller(pub CallContext);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts
            .extensions
            .get::<CallContext>()
            .cloned()
            .map(Self)
            .ok_or_else(Problem::internal)
    }
}

/// The first (or only) id of the path. Anything but a UUID is 400 `malformed`.
#[derive(Clone, Copy, Debug)]
pub struct PathId<T>(pub T);

impl<T: From<Uuid>, S: Send + Sync> FromRequestParts<S> for PathId<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(path_id(parts, state, 0).await?.into()))
    }
}

/// The first two ids of the path.
#[derive(Clone, Copy, Debug)]
pub struct PathIds<A, B>(pub A, pub B);

impl<A: From<Uuid>, B: From<Uuid>, S: Send + Sync> FromRequestParts<S> for PathIds<A, B> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let (first, second) = (
            path_id(parts, state, 0).await?,
            path_id(parts, state, 1).await?,
        );
        Ok(Self(first.into(), second.into()))
    }
}

/// The query, as a struct. What cannot be read is 400 `malformed`; unknown parameters are ignored.
#[derive(Clone, Debug)]
pub struct QueryParams<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for QueryParams<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Query(value) = Query::<T>::try_from_uri(&parts.uri).map_err(|rejection| {
            Problem::malformed(format!(
                "The query cannot be read: {}",
                rejection.body_text()
            ))
        })?;
        Ok(Self(value))
    }
}

async fn path_id<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    position: usize,
) -> Result<Uuid, Problem> {
    let params = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| Problem::malformed("The path is not valid."))?;
    let (_, text) = params.iter().nth(position).ok_or_else(Problem::internal)?;
    // Only the hyphenated form: the others would make several addresses of one resource.
    if text.len() != 36 {
        return Err(Problem::malformed("The id in the path is not a UUID."));
    }
    Uuid::try_parse(text).map_err(|_| Problem::malformed("The id in the path is not a UUID."))
}
