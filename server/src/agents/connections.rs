//! The live connections: who is connected, what each host is working on, and how to reach it. Only memory: after a
//! restart agents dial in again and say what they hold.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use fleetwright_protocol::{CommandId, HostId, ServerFrame};
use tokio::sync::mpsc;

/// Frames that may wait for a slow reader before its connection is dropped. An honest agent runs a handful of
/// commands at a time; this is memory we are willing to lose to a bad one.
const OUTBOUND_MAX: usize = 256;

/// What the connection's own task is told.
#[derive(Debug)]
pub enum Outbound {
    Text(String),
    /// Close with this WebSocket code and reason.
    Close(u16, &'static str),
}

/// One live connection of one host.
pub struct Connection {
    pub host_id: HostId,
    /// Tells this connection apart from the host's earlier and later ones.
    pub epoch: u64,
    outbound: mpsc::Sender<Outbound>,
    concurrency: AtomicU32,
    working_on: Mutex<Vec<CommandId>>,
    /// Something waits for this host to have room.
    waiting: AtomicBool,
    /// Monotonic µs of the last frame.
    last_heard_us: AtomicU64,
}

/// Whether a host can take one more command now.
#[derive(Debug, PartialEq, Eq)]
pub enum Room {
    Reserved,
    /// It works on as many as it can; it will be reported when it has room.
    Busy,
    Offline,
}

#[derive(Clone, Default)]
pub struct Connections {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    live: papaya::HashMap<HostId, Arc<Connection>>,
    epochs: AtomicU64,
}

impl Connections {
    /// Registers a new connection in place of the host's earlier one, which is told to close. Nothing is sent
    /// to it until [`Connection::open`] has been called.
    pub fn register(
        &self,
        host_id: HostId,
        now_us: i64,
    ) -> (Arc<Connection>, mpsc::Receiver<Outbound>) {
        let (outbound, receiver) = mpsc::channel(OUTBOUND_MAX);
        let connection = Arc::new(Connection {
            host_id,
            epoch: self.inner.epochs.fetch_add(1, Ordering::Relaxed),
            outbound,
            concurrency: AtomicU32::new(0),
            working_on: Mutex::new(Vec::new()),
            waiting: AtomicBool::new(false),
            last_heard_us: AtomicU64::new(now_us.unsigned_abs()),
        });
        let earlier = self
            .inner
            .live
            .pin()
            .insert(host_id, connection.clone())
            .cloned();
        if let Some(earlier) = earlier {
            earlier.close(1000, "replaced by a newer connection");
        }
        (connection, receiver)
    }

    /// Removes this very connection; returns whether it was the host's live one.
    pub fn remove(&self, connection: &Connection) -> bool {
        let guard = self.inner.live.pin();
        guard
            .remove_if(&connection.host_id, |_, live| {
                live.epoch == connection.epoch
            })
            .is_ok_and(|removed| removed.is_some())
    }

    pub fn is_connected(&self, host_id: HostId) -> bool {
        self.inner.live.pin().contains_key(&host_id)
    }

    pub fn len(&self) -> usize {
        self.inner.live.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, host_id: HostId) -> Option<Arc<Connection>> {
        self.inner.live.pin().get(&host_id).cloned()
    }

    /// Ends the host's connection, if it has one (rejected, deleted, locked, misbehaving).
    pub fn cut(&self, host_id: HostId, reason: &'static str) {
        if let Some(connection) = self.get(host_id) {
            connection.close(1008, reason);
        }
    }

    /// Ends every connection: the server is going down.
    pub fn cut_all(&self, reason: &'static str) {
        for connection in self.inner.live.pin().values() {
            connection.close(1001, reason);
        }
    }

    /// Takes room for a command on its host.
    pub fn reserve(&self, host_id: HostId, command_id: CommandId) -> Room {
        match self.inner.live.pin().get(&host_id) {
            None => Room::Offline,
            Some(connection) => connection.reserve(command_id),
        }
    }

    /// Gives room back; returns whether something waits for it.
    pub fn resolve(&self, host_id: HostId, command_id: CommandId) -> bool {
        match self.inner.live.pin().get(&host_id) {
            None => false,
            Some(connection) => connection.resolve(command_id),
        }
    }

    /// Sends text to a host; dropped if it is not connected (it will be resent after its next `hello`).
    pub fn send_text(&self, host_id: HostId, text: String) {
        if let Some(connection) = self.inner.live.pin().get(&host_id) {
            connection.send(Outbound::Text(text));
        }
    }

    pub fn send(&self, host_id: HostId, frame: &ServerFrame) {
        match serde_json::to_string(frame) {
            Ok(text) => self.send_text(host_id, text),
            Err(error) => tracing::error!(%error, "a server frame could not be encoded"),
        }
    }

    /// Ends the connections not heard of since `before_us` (monotonic): half-open sockets never say so themselves.
    pub fn cut_silent(&self, before_us: i64) {
        for connection in self.inner.live.pin().values() {
            if connection.last_heard_us.load(Ordering::Relaxed) < before_us.unsigned_abs() {
                connection.close(1001, "silent for too long");
            }
        }
    }
}

impl Connection {
    /// Starts accepting commands: at most `concurrency` at a time, already working on `working_on`.
    pub fn open(&self, concurrency: u32, working_on: Vec<CommandId>) {
        *self.working() = working_on;
        self.concurrency
            .store(concurrency.max(1), Ordering::Release);
    }

    pub fn is_working_on(&self, command_id: CommandId) -> bool {
        self.working().contains(&command_id)
    }

    pub fn heard(&self, now_us: i64) {
        self.last_heard_us
            .store(now_us.unsigned_abs(), Ordering::Relaxed);
    }

    pub fn send_frame(&self, frame: &ServerFrame) {
        match serde_json::to_string(frame) {
            Ok(text) => self.send(Outbound::Text(text)),
            Err(error) => tracing::error!(%error, "a server frame could not be encoded"),
        }
    }

    pub fn close(&self, code: u16, reason: &'static str) {
        self.send(Outbound::Close(code, reason));
    }

    /// A full queue means a reader that does not read: losing the frame is safe, because what was not acknowledged
    /// is settled at the next `hello`; the silence check ends the connection.
    fn send(&self, message: Outbound) {
        if self.outbound.try_send(message).is_err() {
            tracing::debug!(host_id = %self.host_id, "dropped a frame for a slow or closed connection");
        }
    }

    fn reserve(&self, command_id: CommandId) -> Room {
        let mut working = self.working();
        let concurrency = self.concurrency.load(Ordering::Acquire);
        if concurrency == 0 {
            // Registered, but its hello is not settled yet; it is examined again when it is.
            return Room::Offline;
        }
        if working.len() >= usize::try_from(concurrency).unwrap_or(usize::MAX) {
            self.waiting.store(true, Ordering::Relaxed);
            return Room::Busy;
        }
        working.push(command_id);
        Room::Reserved
    }

    fn resolve(&self, command_id: CommandId) -> bool {
        let mut working = self.working();
        working.retain(|id| *id != command_id);
        self.waiting.swap(false, Ordering::Relaxed)
    }

    fn working(&self) -> std::sync::MutexGuard<'_, Vec<CommandId>> {
        // Nothing panics while holding it; a poisoned list is still a list.
        self.working_on
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_host_takes_as_many_commands_as_it_can_run() {
        let connections = Connections::default();
        let host = HostId(Uuid::from_u128(1));
        let (first, second) = (CommandId(Uuid::from_u128(2)), CommandId(Uuid::from_u128(3)));
        assert_eq!(connections.reserve(host, first), Room::Offline);
        let (connection, _receiver) = connections.register(host, 0);
        assert_eq!(
            connections.reserve(host, first),
            Room::Offline,
            "hello is not settled"
        );
        connection.open(1, Vec::new());
        assert_eq!(connections.reserve(host, first), Room::Reserved);
        assert_eq!(connections.reserve(host, second), Room::Busy);
        assert!(connections.resolve(host, first), "the second one waits");
        assert_eq!(connections.reserve(host, second), Room::Reserved);
    }

    #[test]
    fn an_older_connection_does_not_remove_a_newer_one() {
        let connections = Connections::default();
        let host = HostId(Uuid::from_u128(1));
        let (old, mut old_receiver) = connections.register(host, 0);
        let (_new, _receiver) = connections.register(host, 0);
        assert!(matches!(
            old_receiver.try_recv(),
            Ok(Outbound::Close(1000, _))
        ));
        assert!(!connections.remove(&old));
        assert!(connections.is_connected(host));
    }
}
