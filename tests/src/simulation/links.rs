//! One connection between an agent and the server, with what is on its way. How it moves is in `network`.

use std::collections::VecDeque;
use std::sync::Arc;

use fleetwright_protocol::{AgentFrame, HostId};
use fleetwright_server::links::Connection;
use tokio::sync::mpsc;

pub type LinkId = u64;

pub struct Link {
    pub host: usize,
    pub host_id: HostId,
    pub connection: Arc<Connection>,
    pub inbox: mpsc::Receiver<String>,
    /// What the agent says.
    pub said: mpsc::Receiver<AgentFrame>,
    /// The agent's life that holds the other end.
    pub life: u64,
    pub agent_end: bool,
    pub server_end: bool,
    /// Nothing new gets through.
    pub is_dead: bool,
    pub up: VecDeque<AgentFrame>,
    pub down: VecDeque<(String, i64)>,
    /// The last command that went down.
    pub last_command: Option<String>,
    pub up_at_us: i64,
    pub down_at_us: i64,
    pub said_hello: bool,
    /// When the agent last heard of the server.
    pub heard_us: i64,
}
