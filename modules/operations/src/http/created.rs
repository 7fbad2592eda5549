//! The answer to a request for a new operation.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::created::Created;

impl<A, P: Serialize> IntoResponse for Created<A, P> {
    fn into_response(self) -> Response {
        match self {
            Self::Accepted { reply, .. } => reply.into_response(),
            Self::Planned(plan) => (StatusCode::OK, Json(plan)).into_response(),
        }
    }
}
