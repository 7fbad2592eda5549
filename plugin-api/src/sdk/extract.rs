//! What handlers take from a request besides its body.

use axum::extract::FromRequestParts;
use http::request::Parts;

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
