//! Live output: chunks from agents to whoever follows a command right now. Best effort and never stored.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use fleetwright_protocol::CommandId;
use fleetwright_protocol::frame::Stream;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Chunks a follower may fall behind before it misses some.
const BEHIND_MAX: usize = 64;

/// A piece of output; `offset` is its position in the stream.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub stream: Stream,
    pub offset: u64,
    pub data: Arc<[u8]>,
}

type Channels = HashMap<CommandId, broadcast::Sender<Chunk>>;

/// Who follows what. A command has a channel here only while somebody follows it.
#[derive(Clone, Default)]
pub struct LiveOutput {
    channels: Arc<RwLock<Channels>>,
}

/// One follower of one command; whoever drops the last one of a command takes its channel away.
pub struct Follower {
    live: LiveOutput,
    id: CommandId,
    chunks: Option<broadcast::Receiver<Chunk>>,
}

/// What a follower hears.
#[derive(Debug)]
pub enum Heard {
    Chunk(Chunk),
    /// Some chunks were too many.
    Missed,
    /// The command is over.
    Over,
}

impl LiveOutput {
    /// Follows a command from now on.
    pub fn follow(&self, id: CommandId) -> Follower {
        let mut channels = self.write();
        let channel = channels
            .entry(id)
            .or_insert_with(|| broadcast::channel(BEHIND_MAX).0);
        Follower {
            live: self.clone(),
            id,
            chunks: Some(channel.subscribe()),
        }
    }

    /// Hands a chunk to the followers; nobody following costs one look-up.
    pub fn publish(&self, id: CommandId, chunk: Chunk) {
        if let Some(channel) = self.read().get(&id) {
            // The last follower may be leaving in this moment.
            let _ = channel.send(chunk);
        }
    }

    /// Tells the followers of a command that it is over.
    pub fn finish(&self, id: CommandId) {
        // Most commands are followed by nobody, and readers do not wait for each other.
        let is_followed = self.read().contains_key(&id);
        if is_followed {
            self.write().remove(&id);
        }
    }

    /// Commands that are being followed.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    // Nothing panics while holding either; a poisoned map is still a map.
    fn read(&self) -> RwLockReadGuard<'_, Channels> {
        self.channels.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Channels> {
        let channels = &self.channels;
        channels.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    pub async fn hear(&mut self) -> Heard {
        let Some(chunks) = &mut self.chunks else {
            return Heard::Over;
        };
        match chunks.recv().await {
            Ok(chunk) => Heard::Chunk(chunk),
            Err(RecvError::Lagged(_)) => Heard::Missed,
            Err(RecvError::Closed) => Heard::Over,
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut channels = self.live.write();
        self.chunks = None;
        let is_left = channels
            .get(&self.id)
            .is_some_and(|channel| channel.receiver_count() == 0);
        if is_left {
            channels.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use uuid::Uuid;

    fn chunk() -> Chunk {
        Chunk {
            stream: Stream::Stdout,
            offset: 0,
            data: Arc::from(*b"x"),
        }
    }

    #[test]
    fn a_channel_lives_as_long_as_somebody_follows() {
        let live = LiveOutput::default();
        let id = CommandId(Uuid::from_u128(1));
        let first = live.follow(id);
        let mut second = live.follow(id);
        drop(first);
        live.publish(id, chunk());
        assert!(matches!(
            second.hear().now_or_never(),
            Some(Heard::Chunk(_))
        ));
        drop(second);
        assert!(live.is_empty());
    }

    #[test]
    fn the_end_comes_after_the_last_chunk() {
        let live = LiveOutput::default();
        let id = CommandId(Uuid::from_u128(1));
        let mut follower = live.follow(id);
        live.publish(id, chunk());
        live.finish(id);
        assert!(matches!(
            follower.hear().now_or_never(),
            Some(Heard::Chunk(_))
        ));
        assert!(matches!(follower.hear().now_or_never(), Some(Heard::Over)));
        assert!(live.is_empty());
    }
}
