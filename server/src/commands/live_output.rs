//! Live output: chunks from agents to whoever follows a command right now. Best effort and never stored.

use std::sync::Arc;

use fleetwright_protocol::CommandId;
use fleetwright_protocol::frame::Stream;
use tokio::sync::broadcast;

/// Chunks a follower may fall behind before it misses some.
const BEHIND_MAX: usize = 64;

/// A piece of output; `offset` is its position in the stream.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub stream: Stream,
    pub offset: u64,
    pub data: Arc<[u8]>,
}

#[derive(Clone, Default)]
pub struct LiveOutput {
    followers: Arc<papaya::HashMap<CommandId, broadcast::Sender<Chunk>>>,
}

impl LiveOutput {
    /// Follows a command from now on.
    pub fn follow(&self, id: CommandId) -> broadcast::Receiver<Chunk> {
        let guard = self.followers.pin();
        guard
            .get_or_insert_with(id, || broadcast::channel(BEHIND_MAX).0)
            .subscribe()
    }

    /// Hands a chunk to the followers; nobody following costs one look-up.
    pub fn publish(&self, id: CommandId, chunk: Chunk) {
        let guard = self.followers.pin();
        if let Some(sender) = guard.get(&id)
            && sender.send(chunk).is_err()
        {
            guard.remove(&id);
        }
    }

    /// Ends every follower of a command that is over.
    pub fn finish(&self, id: CommandId) {
        self.followers.pin().remove(&id);
    }
}
