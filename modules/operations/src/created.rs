//! What became of a request for a new operation, and how other modules are answered; over HTTP it is `http::created` that answers.

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
