//! What the agents' routes reach.

use crate::agents::Agents;
use crate::app::AppState;

/// The server, and what of it stands above the wiring because only agents need it.
#[derive(Clone)]
pub struct AgentsState {
    pub app: AppState,
    pub agents: Agents,
}
