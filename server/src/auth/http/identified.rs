//! How the caller of a request authenticated, for the routes that answer differently to a session and to a token.

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::auth::identities::IdentityKind;
use crate::http::Problem;

/// How the caller authenticated.
#[derive(Clone, Copy, Debug)]
pub struct Identified(pub IdentityKind);

impl<S: Sync> FromRequestParts<S> for Identified {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let found = parts.extensions.get::<Self>().copied();
        found.ok_or_else(Problem::unauthenticated)
    }
}
