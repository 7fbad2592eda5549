//! What an agent says about a command, on its way from the connection to the database.

use fleetwright_protocol::outcome::{NotStartedReason, Outcome};
use fleetwright_protocol::{CommandId, HostId, Open};
use tokio::sync::OwnedSemaphorePermit;

use super::store::StoredOutput;

/// One thing an agent said about one command.
#[derive(Debug)]
pub struct AgentReport {
    pub host_id: HostId,
    pub command_id: CommandId,
    pub attempt: u32,
    pub said: Said,
    /// What its result takes of the memory for results; given back when it is stored.
    pub room: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
pub enum Said {
    Started,
    NotStarted(Open<NotStartedReason>),
    /// With the output as it is to be stored.
    Finished(Box<(Outcome, StoredOutput)>),
    /// Nothing more: its connection has ended while it worked on the command.
    HostGone,
}

impl AgentReport {
    /// Of its result, as they are held until they are stored.
    pub fn bytes(&self) -> usize {
        match &self.said {
            Said::Started | Said::NotStarted(_) | Said::HostGone => 0,
            Said::Finished(result) => result.1.bytes(),
        }
    }
}
