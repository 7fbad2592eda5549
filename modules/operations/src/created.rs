//! What became of a request for a new operation, and how it is answered over HTTP and to other modules.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use fleetwright_plugin_api::sdk::Reply;
use serde::Serialize;
use serde_json::{Value, json};

/// `A` is how an accepted one is shown, `P` a plan.
#[derive(Debug)]
pub enum Created<A, P> {
    /// With the answer that was stored for it.
    Accepted {
        view: Box<A>,
        reply: Reply,
    },
    Planned(Box<P>),
}

impl<A: Serialize, P: Serialize> Created<A, P> {
    /// As other modules are answered.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Accepted { view, .. } => json!(view),
            Self::Planned(plan) => json!(plan),
        }
    }
}

impl<A, P: Serialize> IntoResponse for Created<A, P> {
    fn into_response(self) -> Response {
        match self {
            Self::Accepted { reply, .. } => reply.into_response(),
            Self::Planned(plan) => (StatusCode::OK, Json(plan)).into_response(),
        }
    }
}
