//! The live connections: who is connected, what each host is working on, and how to reach it. Only memory: after a
//! restart agents dial in again and say what they hold.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;
use std::time::Duration;

use fleetwright_protocol::close::REPLACED;
use fleetwright_protocol::{CommandId, HostId, ServerFrame};
use futures_util::task::AtomicWaker;
use tokio::sync::{Notify, mpsc, watch};

/// Frames that may wait for a slow reader before its connection is dropped. An honest agent runs a handful of
/// commands at a time; this is memory we are willing to lose to a bad one.
const OUTBOUND_MAX: usize = 256;
/// Commands one agent works on at a time, whatever it claims: the most its configuration may ask for. Each may have
/// output waiting here.
const CONCURRENCY_MAX: u32 = 64;

/// Why connections end whose hosts are not there any more.
pub const SILENT: &str = "silent for too long";
pub const DOES_NOT_READ: &str = "does not read";

/// Why the server ends a connection: a WebSocket close code and its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub code: u16,
    pub reason: &'static str,
}

/// One live connection of one host.
pub struct Connection {
    pub host_id: HostId,
    /// Tells this connection apart from the host's earlier and later ones.
    pub epoch: u64,
    outbound: mpsc::Sender<String>,
    work: Mutex<Work>,
    /// Something waits for this host to have room.
    waiting: AtomicBool,
    /// Monotonic µs of the last frame.
    last_heard_us: AtomicU64,
    /// Beside the queue of frames, so that a full queue or a reader that does not read delays no cut.
    over: AtomicBool,
    /// The task that serves it. It looks with every frame, so looking takes no lock.
    serving: AtomicWaker,
    cut: OnceLock<Cut>,
    /// How often it was asked whether it is still there, and the last time that it has answered.
    asked: AtomicU64,
    ask: Notify,
    answered: watch::Sender<u64>,
}

/// What an agent has been given.
#[derive(Default)]
struct Work {
    /// How many commands it takes at a time; 0 until its `hello` is settled.
    concurrency: u32,
    /// With their attempts.
    commands: Vec<(CommandId, u32)>,
}

/// Whether a host can take one more command now.
pub enum Room {
    /// On this very connection: whatever becomes of the command is said to it, never to a later one.
    Reserved(Arc<Connection>),
    /// It works on as many as it can; it will be reported when it has room.
    Busy,
    Offline,
}

#[derive(Clone, Default)]
pub struct Connections {
    inner: Arc<LinkTable>,
}

#[derive(Default)]
struct LinkTable {
    live: papaya::HashMap<HostId, Arc<Connection>>,
    epochs: AtomicU64,
}

impl Connections {
    /// Registers a new connection in place of the host's earlier one, which is over from now on. Nothing is sent
    /// to it until [`Connection::open`] has been called.
    pub fn register(
        &self,
        host_id: HostId,
        now_us: i64,
    ) -> (Arc<Connection>, mpsc::Receiver<String>) {
        let (connection, receiver) = self.prepare(host_id, now_us);
        self.enter(&connection);
        (connection, receiver)
    }

    /// A connection that has not said who it is: the host's live one stays.
    pub fn prepare(
        &self,
        host_id: HostId,
        now_us: i64,
    ) -> (Arc<Connection>, mpsc::Receiver<String>) {
        let (outbound, receiver) = mpsc::channel(OUTBOUND_MAX);
        let connection = Arc::new(Connection {
            host_id,
            epoch: self.inner.epochs.fetch_add(1, Ordering::Relaxed),
            outbound,
            work: Mutex::default(),
            waiting: AtomicBool::new(false),
            last_heard_us: AtomicU64::new(now_us.unsigned_abs()),
            over: AtomicBool::new(false),
            serving: AtomicWaker::new(),
            cut: OnceLock::new(),
            asked: AtomicU64::new(0),
            ask: Notify::new(),
            answered: watch::Sender::new(0),
        });
        (connection, receiver)
    }

    /// Puts a prepared connection in the place of the host's earlier one, which is over from now on.
    pub fn enter(&self, connection: &Arc<Connection>) {
        let live = self.inner.live.pin();
        let earlier = live.insert(connection.host_id, Arc::clone(connection));
        if let Some(earlier) = earlier
            && earlier.epoch != connection.epoch
        {
            earlier.cut(1000, REPLACED);
        }
    }

    /// Removes this very connection, which is over; returns whether it was the host's live one.
    pub fn remove(&self, connection: &Connection) -> bool {
        connection.cut(1001, "ended");
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
            connection.cut(1008, reason);
        }
    }

    /// Ends every connection: the server is going down.
    pub fn cut_all(&self, reason: &'static str) {
        for connection in self.inner.live.pin().values() {
            connection.cut(1001, reason);
        }
    }

    /// Takes room for a command's attempt on its host.
    pub fn reserve(&self, host_id: HostId, command_id: CommandId, attempt: u32) -> Room {
        match self.inner.live.pin().get(&host_id) {
            None => Room::Offline,
            Some(connection) => Connection::reserve(connection, command_id, attempt),
        }
    }

    /// Gives back room that the host's live connection has for a command; returns whether something waits for it.
    pub fn resolve(&self, host_id: HostId, command_id: CommandId) -> bool {
        match self.inner.live.pin().get(&host_id) {
            None => false,
            Some(connection) => connection.resolve(command_id),
        }
    }

    /// Sends to a host whose `hello` is settled. To any other it is not said: what it must know is settled by its
    /// next `hello`, and `welcome` comes first.
    pub fn send(&self, host_id: HostId, frame: &ServerFrame) {
        if let Some(connection) = self.inner.live.pin().get(&host_id)
            && connection.is_open()
        {
            connection.send_frame(frame);
        }
    }

    /// Ends the connections not heard of since `before_us` (monotonic): half-open sockets never say so themselves.
    pub fn cut_silent(&self, before_us: i64) {
        for connection in self.inner.live.pin().values() {
            if connection.last_heard_us.load(Ordering::Relaxed) < before_us.unsigned_abs() {
                connection.cut(1001, SILENT);
            }
        }
    }
}

impl Connection {
    /// Says `welcome` and starts accepting commands: at most `concurrency` at a time, already working on
    /// `working_on`. Called in the commit that settles the `hello`, so that what later commits say of these commands
    /// comes after it.
    pub fn open(&self, welcome: &ServerFrame, concurrency: u32, working_on: Vec<(CommandId, u32)>) {
        self.send_frame(welcome);
        *self.work() = Work {
            concurrency: concurrency.clamp(1, CONCURRENCY_MAX),
            commands: working_on,
        };
    }

    /// Whether its `hello` is settled.
    pub fn is_open(&self) -> bool {
        self.work().concurrency > 0
    }

    /// Whether nothing may be sent to it any more: it has ended, is being cut, or a newer one has taken its place.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// What the host is working on, as far as this connection knows.
    pub fn working_on(&self) -> Vec<(CommandId, u32)> {
        self.work().commands.clone()
    }

    pub fn is_working_on(&self, command_id: CommandId, attempt: u32) -> bool {
        self.work().commands.contains(&(command_id, attempt))
    }

    /// The same for frames that name no attempt.
    pub fn is_running(&self, command_id: CommandId) -> bool {
        self.work().commands.iter().any(|(id, _)| *id == command_id)
    }

    pub fn heard(&self, now_us: i64) {
        self.last_heard_us
            .store(now_us.unsigned_abs(), Ordering::Relaxed);
    }

    pub fn send_frame(&self, frame: &ServerFrame) {
        match serde_json::to_string(frame) {
            Ok(text) => self.send_text(text),
            Err(error) => tracing::error!(%error, "a server frame could not be encoded"),
        }
    }

    /// A full queue means a reader that does not read: the connection is dropped, because a frame that is lost while
    /// it lives would be missed for good; the next `hello` settles what was not said.
    pub fn send_text(&self, text: String) {
        if self.is_over() {
            return;
        }
        if let Err(mpsc::error::TrySendError::Full(_)) = self.outbound.try_send(text) {
            self.cut(1001, DOES_NOT_READ);
        }
    }

    /// Ends it at once, whatever its task is doing. The first reason stands.
    pub fn cut(&self, code: u16, reason: &'static str) {
        let _ = self.cut.set(Cut { code, reason });
        self.over.store(true, Ordering::SeqCst);
        self.serving.wake();
    }

    /// Waits until it is cut. Only the task that serves it may: one is woken.
    pub async fn until_cut(&self) -> Cut {
        std::future::poll_fn(|context| {
            if self.is_over() {
                return Poll::Ready(());
            }
            self.serving.register(context.waker());
            // It may have been cut while the waker was put there.
            match self.is_over() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        // It is set before it is over.
        self.cut.get().copied().unwrap_or(Cut {
            code: 1001,
            reason: "ended",
        })
    }

    /// Asks the other end whether it is still there; `false` if it does not answer in time. What it has said before does
    /// not count.
    pub async fn answers_within(&self, patience: Duration) -> bool {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut answered = self.answered.subscribe();
        self.ask.notify_one();
        let answer = answered.wait_for(|answered| *answered >= number);
        // The sender lives as long as this connection: no answer means no answer in time.
        tokio::time::timeout(patience, answer).await.is_ok()
    }

    /// Waits until somebody asks. Returns what to ping with.
    pub async fn until_asked(&self) -> [u8; 8] {
        self.ask.notified().await;
        self.asked.load(Ordering::SeqCst).to_be_bytes()
    }

    /// The other end has answered a ping with this.
    pub fn answered(&self, payload: &[u8]) {
        if let Ok(number) = <[u8; 8]>::try_from(payload) {
            // Never more than was asked, whatever it says.
            let number = u64::from_be_bytes(number).min(self.asked.load(Ordering::SeqCst));
            self.answered.send_if_modified(|answered| {
                let is_newer = number > *answered;
                *answered = number.max(*answered);
                is_newer
            });
        }
    }

    /// Gives room back; returns whether something waits for it.
    pub fn resolve(&self, command_id: CommandId) -> bool {
        let mut work = self.work();
        work.commands.retain(|(id, _)| *id != command_id);
        self.waiting.swap(false, Ordering::Relaxed)
    }

    fn reserve(connection: &Arc<Self>, command_id: CommandId, attempt: u32) -> Room {
        let mut work = connection.work();
        if work.concurrency == 0 || connection.is_over() {
            // Registered, but its hello is not settled yet; it is examined again when it is.
            return Room::Offline;
        }
        if work.commands.len() >= usize::try_from(work.concurrency).unwrap_or(usize::MAX) {
            connection.waiting.store(true, Ordering::Relaxed);
            return Room::Busy;
        }
        work.commands.push((command_id, attempt));
        Room::Reserved(Arc::clone(connection))
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        // Nothing panics while holding it; a poisoned list is still a list.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use uuid::Uuid;

    const HOST: HostId = HostId(Uuid::from_u128(1));

    fn command(number: u128) -> CommandId {
        CommandId(Uuid::from_u128(number))
    }

    fn welcome() -> ServerFrame {
        ServerFrame::Settings {
            heartbeat_seconds: 10,
        }
    }

    fn open(connections: &Connections) -> (Arc<Connection>, mpsc::Receiver<String>) {
        let (connection, mut receiver) = connections.register(HOST, 0);
        connection.open(&welcome(), 1, Vec::new());
        receiver.try_recv().expect("the welcome");
        (connection, receiver)
    }

    #[test]
    fn a_host_takes_as_many_commands_as_it_can_run() {
        let connections = Connections::default();
        let (first, second) = (command(2), command(3));
        let reserve = |id| connections.reserve(HOST, id, 1);
        assert!(matches!(reserve(first), Room::Offline));
        let (connection, _receiver) = connections.register(HOST, 0);
        assert!(
            matches!(reserve(first), Room::Offline),
            "hello is not settled"
        );
        connection.open(&welcome(), 1, Vec::new());
        assert!(matches!(reserve(first), Room::Reserved(_)));
        assert!(matches!(reserve(second), Room::Busy));
        assert!(connections.resolve(HOST, first), "the second one waits");
        assert!(matches!(reserve(second), Room::Reserved(_)));
    }

    #[test]
    fn an_older_connection_does_not_remove_a_newer_one() {
        let connections = Connections::default();
        let (old, _old_receiver) = connections.register(HOST, 0);
        let (_new, _receiver) = connections.register(HOST, 0);
        let cut = old.until_cut().now_or_never().expect("it is over");
        assert_eq!(cut.code, 1000);
        assert!(!connections.remove(&old));
        assert!(connections.is_connected(HOST));
    }

    #[test]
    fn what_was_reserved_on_a_replaced_connection_never_reaches_the_newer_one() {
        let connections = Connections::default();
        let (_old, mut old_receiver) = open(&connections);
        let Room::Reserved(reserved) = connections.reserve(HOST, command(2), 1) else {
            panic!("there is room");
        };
        let (new, mut receiver) = connections.register(HOST, 0);
        assert!(reserved.is_over());
        reserved.send_text("a command".to_owned());
        new.open(&welcome(), 1, vec![(command(2), 1)]);
        reserved.send_text("a command".to_owned());
        reserved.resolve(command(2));
        assert!(new.is_working_on(command(2), 1), "another one's room");
        receiver.try_recv().expect("the welcome");
        assert!(receiver.try_recv().is_err() && old_receiver.try_recv().is_err());
    }

    #[test]
    fn nothing_is_said_before_the_welcome() {
        let connections = Connections::default();
        let (connection, mut receiver) = connections.register(HOST, 0);
        let cancel = ServerFrame::Cancel {
            command_id: command(2),
            kill: true,
        };
        connections.send(HOST, &cancel);
        connection.open(&welcome(), 1, Vec::new());
        connections.send(HOST, &cancel);
        let said: Vec<_> = std::iter::from_fn(|| receiver.try_recv().ok()).collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("settings") && said[1].contains("cancel"));
    }

    #[test]
    fn a_cut_does_not_wait_behind_frames_that_nobody_reads() {
        let connections = Connections::default();
        let (connection, _receiver) = open(&connections);
        for _ in 0..OUTBOUND_MAX {
            connection.send_text(String::new());
        }
        assert!(!connection.is_over());
        connections.cut(HOST, "rejected");
        let cut = connection.until_cut().now_or_never().expect("at once");
        assert_eq!((cut.code, cut.reason), (1008, "rejected"));
    }

    #[test]
    fn a_connection_that_loses_a_frame_is_dropped() {
        let connections = Connections::default();
        let (connection, _receiver) = open(&connections);
        for _ in 0..=OUTBOUND_MAX {
            connection.send_text(String::new());
        }
        let cut = connection.until_cut().now_or_never().expect("at once");
        assert_eq!(cut.reason, "does not read");
        assert!(matches!(
            connections.reserve(HOST, command(2), 1),
            Room::Offline
        ));
    }
}
