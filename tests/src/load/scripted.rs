//! An agent whose every frame a test writes itself: for what no honest agent would say.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fleetwright_protocol::frame::{AgentFrame, Capabilities, Hello};
use fleetwright_protocol::{JournalId, Open, OperationType, PROTOCOL_VERSION};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::agent::CONNECT_PATH;
use super::facts::facts;
use super::identity::{Identity, anonymous_config};
use super::websocket::{Message, Socket};

/// The server answers at once, but ten thousand frames sent together are a long moment's work.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct ScriptedAgent {
    runtime: Runtime,
    socket: Socket,
}

/// What the server said.
#[derive(Debug, PartialEq)]
pub enum Heard {
    Frame(Value),
    /// The connection is over: the close code, or 0 if it broke without one.
    Closed(u16, String),
}

impl ScriptedAgent {
    /// Opens the WebSocket with this identity, or with none; says nothing yet.
    pub fn connect(address: SocketAddr, identity: Option<&Identity>) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let config = identity.map_or_else(anonymous_config, Identity::client_config);
        let socket =
            runtime.block_on(Socket::connect(address, Arc::clone(&config), CONNECT_PATH))?;
        Ok(Self { runtime, socket })
    }

    /// Connects and says a proper hello; returns after the welcome.
    pub fn welcomed(address: SocketAddr, identity: &Identity) -> Self {
        let mut agent = Self::connect(address, Some(identity)).expect("the server lets it in");
        agent.say(&AgentFrame::Hello(Box::new(hello(identity))));
        match agent.hear() {
            Heard::Frame(frame) if frame["type"] == "welcome" => agent,
            other => panic!("instead of a welcome: {other:?}"),
        }
    }

    pub fn say(&mut self, frame: &AgentFrame) {
        let text = serde_json::to_string(frame).expect("a frame is plain data");
        self.say_text(&text);
    }

    /// Any text; a connection that is over is noticed by [`ScriptedAgent::hear`].
    pub fn say_text(&mut self, text: &str) {
        self.socket.queue_text(text);
        let _ = self.runtime.block_on(self.socket.flush());
    }

    /// The next frame or the end. Pings are answered.
    pub fn hear(&mut self) -> Heard {
        self.hear_within(PATIENCE)
            .unwrap_or_else(|| panic!("the server said nothing for {PATIENCE:?}"))
    }

    /// `None` if nothing comes in time.
    pub fn hear_within(&mut self, patience: Duration) -> Option<Heard> {
        let Self { runtime, socket } = self;
        runtime.block_on(async { tokio::time::timeout(patience, hear(socket)).await.ok() })
    }

    /// Frames until one of this type.
    pub fn hear_type(&mut self, kind: &str) -> Value {
        loop {
            match self.hear() {
                Heard::Frame(frame) if frame["type"] == kind => return frame,
                Heard::Frame(_) => {}
                closed @ Heard::Closed(..) => panic!("waiting for {kind}: {closed:?}"),
            }
        }
    }
}

async fn hear(socket: &mut Socket) -> Heard {
    loop {
        match socket.next().await {
            Ok(Message::Text(range)) => {
                let frame = serde_json::from_slice(socket.payload(range));
                return Heard::Frame(frame.expect("the server sends JSON"));
            }
            Ok(Message::Ping(payload)) => {
                socket.queue_pong(&payload);
                let _ = socket.flush().await;
            }
            Ok(Message::Pong) => {}
            Ok(Message::Closed(code, reason)) => return Heard::Closed(code, reason),
            Err(error) => return Heard::Closed(0, error.to_string()),
        }
    }
}

pub fn hello(identity: &Identity) -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION.to_owned(),
        journal_id: JournalId(identity.host_id.0),
        boot_id: "scripted".to_owned(),
        machine_id: String::new(),
        session: None,
        facts: facts(&identity.name),
        tags: Vec::new(),
        attributes: Default::default(),
        capabilities: Capabilities {
            operations: OperationType::ALL.map(Open::Known).to_vec(),
            concurrency: 1,
        },
        journal: Vec::new(),
    }
}
