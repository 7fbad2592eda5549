//! A crowd of simulated agents on a runtime of their own: enrolled through the real endpoint, connected, told how to
//! behave, released, and gone again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};

use super::agent::{Agent, Behaviour, Counters, Shared};
use super::identity::{self, Identity};
use crate::wait::wait_until;

/// Handshakes under way at once: enough to keep two cores busy, few enough that none times out.
const CONNECTING_MAX: usize = 64;
/// For connecting ten thousand agents to a debug server on a loaded machine.
const CONNECT_PATIENCE: Duration = Duration::from_secs(300);

pub struct Crowd {
    runtime: Runtime,
    shared: Arc<Shared>,
    release: watch::Sender<bool>,
    leave: watch::Sender<bool>,
    order_flood: watch::Sender<u32>,
    pull: watch::Sender<u32>,
    connected: u64,
}

impl Crowd {
    /// A crowd without agents yet. `heartbeat` is every agent's interval.
    pub fn new(address: SocketAddr, heartbeat: Duration) -> Self {
        raise_open_files_limit();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("crowd")
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let (release, released) = watch::channel(false);
        let (leave, leaving) = watch::channel(false);
        let (order_flood, flood) = watch::channel(0);
        let (pull, cut) = watch::channel(0);
        let shared = Shared {
            address,
            counters: Counters::default(),
            released,
            leaving,
            flood,
            cut,
            heartbeat,
        };
        Self {
            runtime,
            shared: Arc::new(shared),
            release,
            leave,
            order_flood,
            pull,
            connected: 0,
        }
    }

    /// Enrols `count` hosts named `<prefix>-<n>.sim` with one token.
    pub fn enroll(&self, token: &str, prefix: &str, count: usize) -> Vec<Arc<Identity>> {
        self.runtime
            .block_on(identity::enroll_all(
                self.shared.address,
                token,
                prefix,
                count,
            ))
            .unwrap_or_else(|error| panic!("enrolling {count} simulated hosts: {error}"))
    }

    /// Connects these agents and returns when the server has welcomed every one.
    pub fn connect(&mut self, identities: &[Arc<Identity>], behaviour: Behaviour) {
        let gate = Arc::new(Semaphore::new(CONNECTING_MAX));
        for identity in identities {
            let agent = Agent::new(
                Arc::clone(identity),
                identity.name.clone(),
                behaviour,
                Arc::clone(&self.shared),
            );
            let (gate, shared) = (Arc::clone(&gate), Arc::clone(&self.shared));
            self.runtime.spawn(async move {
                let permit = gate.acquire_owned().await;
                let welcomed = shared.counters.welcomed.load(Ordering::Relaxed);
                let living = tokio::spawn(agent.live());
                // The place at the gate is given up when somebody has been let in, or after a while.
                for _ in 0..50 {
                    if shared.counters.welcomed.load(Ordering::Relaxed) > welcomed {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                drop(permit);
                let _ = living.await;
            });
        }
        self.connected += identities.len() as u64;
        let wanted = self.connected;
        wait_until(
            &format!("{wanted} agents to be welcomed"),
            CONNECT_PATIENCE,
            || self.counters().welcomed.load(Ordering::Relaxed) >= wanted,
        );
    }

    /// Runs `fault`, which costs every agent its connection, and returns how long it took from its end until the server
    /// had welcomed all of them again.
    pub fn reconnect_after(&self, fault: impl FnOnce()) -> Duration {
        let wanted = self.counters().welcomed.load(Ordering::Relaxed) + self.connected;
        fault();
        let started = std::time::Instant::now();
        wait_until("every agent to be back", CONNECT_PATIENCE, || {
            self.counters().welcomed.load(Ordering::Relaxed) >= wanted
        });
        started.elapsed()
    }

    /// Cuts every connection at the same moment and returns how many agents had been welcomed again after each
    /// `interval`, until all were.
    pub fn storm(&self, interval: Duration) -> Vec<u64> {
        let welcomed = || self.counters().welcomed.load(Ordering::Relaxed);
        let before = welcomed();
        let started = std::time::Instant::now();
        self.pull.send_modify(|cuts| *cuts += 1);
        let mut back = vec![0];
        while back.last().is_none_or(|count| *count < self.connected) {
            assert!(
                started.elapsed() < CONNECT_PATIENCE,
                "not everybody is back"
            );
            crate::wait::pause(interval);
            back.push(welcomed() - before);
        }
        back
    }

    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Lets held commands end, now and from now on.
    pub fn release(&self) {
        let _ = self.release.send(true);
    }

    /// Every agent sends so many heartbeats; returns how long it took until the server had taken all of them.
    pub fn flood(&self, heartbeats_each: u32) -> Duration {
        let pongs = &self.counters().pongs;
        let wanted = pongs.load(Ordering::Relaxed) + self.connected;
        let started = std::time::Instant::now();
        self.order_flood.send_replace(heartbeats_each);
        wait_until("the heartbeats to be taken", CONNECT_PATIENCE, || {
            pongs.load(Ordering::Relaxed) >= wanted
        });
        started.elapsed()
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.leave.send(true);
    }
}

/// Ten thousand sockets need more than the usual thousand file descriptors.
pub fn raise_open_files_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let current = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: current.maximum,
        maximum: current.maximum,
    };
    // Whatever it is then, the first socket too many says so.
    let _ = setrlimit(Resource::Nofile, wanted);
}
