//! What handlers take from a request besides its body.

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use serde::de::DeserializeOwned;

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
            .ok_or_else(Problem::internal_silent)
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
