//! What agents call on their own port (`port`), and what operators call for them: enrollment tokens (`tokens`) and
//! uploads (`blobs`).

mod blobs;
mod port;
mod state;
mod tokens;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;

pub use state::AgentsState;

/// The routes of the agent port, under `/api/v1/agent`. Authenticated by client certificate, not by token.
pub fn agent_router(state: AgentsState) -> Router {
    port::router(state)
}

/// The operators' routes.
pub fn router() -> OpenApiRouter<AgentsState> {
    OpenApiRouter::new()
        .merge(tokens::router())
        .merge(blobs::router())
}
