//! Where live output goes: to the connection of the moment, if it keeps up. Everything else is dropped, because the
//! result carries what is kept.

use std::sync::{Arc, Mutex, PoisonError};

use fleetwright_protocol::frame::Stream;
use fleetwright_protocol::{AgentFrame, CommandId};
use tokio::sync::mpsc;

#[derive(Clone, Default)]
pub struct LiveOutput {
    connection: Arc<Mutex<Option<mpsc::Sender<AgentFrame>>>>,
}

impl LiveOutput {
    /// Sends to this connection from now on; `None` while there is none.
    pub fn set(&self, connection: Option<mpsc::Sender<AgentFrame>>) {
        *self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = connection;
    }

    /// Sends a chunk, or drops it.
    pub fn send(&self, command_id: CommandId, stream: Stream, offset: u64, data: Vec<u8>) {
        let connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = connection.as_ref() {
            // Full or closed: best effort.
            let _ = connection.try_send(AgentFrame::CommandOutput {
                command_id,
                stream: stream.into(),
                offset,
                data,
            });
        }
    }
}
