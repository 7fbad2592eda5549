//! A bad network between agents and a server: a TCP relay that a test tells to hold bytes back, slow them down, cut
//! connections, or cut each after so many bytes. It knows nothing of TLS: what it holds back is not lost, as in a
//! real network, where TCP sends again. Frames that come twice are made by scripted agents instead.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Relayed at once: small beside any limit on bytes a test sets.
const CHUNK_BYTES: usize = 4 * 1024;

/// How bytes travel in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Open,
    /// Nothing travels and nobody is told: neither bytes nor the end of a connection.
    Held,
    /// Every chunk waits this long, one after the other.
    Slow(Duration),
}

/// What holds for all connections, those under way included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    pub to_server: Flow,
    pub to_agent: Flow,
    /// New connections end after so many bytes to the server.
    pub cut_after_bytes: Option<u64>,
}

impl Rules {
    pub const OPEN: Self = Self {
        to_server: Flow::Open,
        to_agent: Flow::Open,
        cut_after_bytes: None,
    };
    /// Half-open: both ends believe in a connection over which nothing comes.
    pub const HELD: Self = Self {
        to_server: Flow::Held,
        to_agent: Flow::Held,
        cut_after_bytes: None,
    };
}

pub struct Proxy {
    pub address: SocketAddr,
    rules: watch::Sender<Rules>,
    cuts: watch::Sender<u64>,
    counters: Arc<Counters>,
    // Dropped last: it ends every task.
    _runtime: Runtime,
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    cut: AtomicU64,
}

impl Proxy {
    /// Relays to `server` from a free port of its own.
    pub fn before(server: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("proxy")
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let (rules, _) = watch::channel(Rules::OPEN);
        let (cuts, _) = watch::channel(0);
        let counters = Arc::new(Counters::default());
        let relay = Relay {
            server,
            rules: rules.clone(),
            cuts: cuts.clone(),
            counters: Arc::clone(&counters),
        };
        runtime.spawn(relay.run(listener));
        Self {
            address,
            rules,
            cuts,
            counters,
            _runtime: runtime,
        }
    }

    /// As an agent's `server_url`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub fn set(&self, rules: Rules) {
        self.rules.send_replace(rules);
    }

    /// Ends every connection there is, in both directions.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Connections there have been.
    pub fn connections(&self) -> u64 {
        self.counters.connections.load(Ordering::SeqCst)
    }

    /// Connections that were cut after their number of bytes.
    pub fn cut_connections(&self) -> u64 {
        self.counters.cut.load(Ordering::SeqCst)
    }
}

struct Relay {
    server: SocketAddr,
    rules: watch::Sender<Rules>,
    cuts: watch::Sender<u64>,
    counters: Arc<Counters>,
}

impl Relay {
    async fn run(self, listener: TcpListener) {
        loop {
            let Ok((agent, _)) = listener.accept().await else {
                continue;
            };
            self.counters.connections.fetch_add(1, Ordering::SeqCst);
            let bytes_left = self.rules.borrow().cut_after_bytes;
            let (server, mut cuts) = (self.server, self.cuts.subscribe());
            let (up, down) = (self.rules.subscribe(), self.rules.subscribe());
            let counters = Arc::clone(&self.counters);
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(server).await else {
                    return;
                };
                let _ = (agent.set_nodelay(true), server.set_nodelay(true));
                let (from_agent, to_agent) = agent.into_split();
                let (from_server, to_server) = server.into_split();
                let upwards = pipe(
                    from_agent,
                    to_server,
                    up,
                    |rules| rules.to_server,
                    bytes_left,
                );
                let downwards = pipe(from_server, to_agent, down, |rules| rules.to_agent, None);
                // The end of the agent's side ends the connection; the server's is passed on, and the agent's follows.
                let downwards = async {
                    downwards.await;
                    std::future::pending().await
                };
                tokio::select! {
                    used_up = upwards => {
                        if used_up {
                            counters.cut.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    () = downwards => {}
                    _ = cuts.changed() => {}
                }
            });
        }
    }
}

/// Relays until the end, which it passes on. Returns whether the bytes were used up.
async fn pipe(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut rules: watch::Receiver<Rules>,
    flow: fn(&Rules) -> Flow,
    mut bytes_left: Option<u64>,
) -> bool {
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        if open(&mut rules, flow).await.is_none() {
            return false;
        }
        let read = tokio::select! {
            read = from.read(&mut chunk) => read,
            _ = rules.changed() => continue,
        };
        // What was read in the very moment that the network was held back waits too.
        let Some(now) = open(&mut rules, flow).await else {
            return false;
        };
        let Ok(count @ 1..) = read else {
            let _ = to.shutdown().await;
            return false;
        };
        if let Flow::Slow(pause) = now {
            tokio::time::sleep(pause).await;
        }
        let left = bytes_left.map_or(usize::MAX, |left| {
            usize::try_from(left).unwrap_or(usize::MAX)
        });
        let passed = chunk.get(..count.min(left)).unwrap_or_default();
        if to.write_all(passed).await.is_err() {
            return false;
        }
        bytes_left = bytes_left.map(|left| left.saturating_sub(passed.len() as u64));
        if bytes_left == Some(0) {
            return true;
        }
    }
}

/// Waits until bytes travel in this direction. `None`: the test is over.
async fn open(rules: &mut watch::Receiver<Rules>, flow: fn(&Rules) -> Flow) -> Option<Flow> {
    let open = rules.wait_for(|rules| flow(rules) != Flow::Held).await;
    open.map(|rules| flow(&rules)).ok()
}
