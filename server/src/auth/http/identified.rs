//! What the gate has put into a request for handlers to take: who is calling, and how they authenticated.

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::auth::identities::IdentityKind;
use crate::auth::{Caller, Standing};
use crate::http::Problem;

/// 401 where the gate has put no caller, so a route that forgot its access rule fails closed.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let found = parts.extensions.get::<Self>().cloned();
        found.ok_or_else(Problem::unauthenticated)
    }
}

/// How the caller authenticated: some routes answer differently to a session and to a token.
#[derive(Clone, Copy, Debug)]
pub struct Identified(pub IdentityKind);

impl<S: Sync> FromRequestParts<S> for Identified {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let found = parts.extensions.get::<Self>().copied();
        found.ok_or_else(Problem::unauthenticated)
    }
}

impl<S: Sync> FromRequestParts<S> for Standing {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let found = parts.extensions.get::<Self>().cloned();
        found.ok_or_else(Problem::unauthenticated)
    }
}
