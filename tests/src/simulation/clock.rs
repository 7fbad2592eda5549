//! The server's clock in a simulation: moved by the world, and ids that follow from the seed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use fleetwright_server::clock::Clock;
use uuid::Uuid;

use super::computer::START_MS;
use crate::seed::Choices;

/// One per life of the server. Its lease clock goes on evenly from one life to the next; its wall clock shows what the world
/// has set it to.
pub struct ServerClock {
    true_us: AtomicI64,
    /// Of all lives: who sets the clock sets it for whoever runs.
    wall_set_by_us: Arc<AtomicI64>,
    ids: Arc<Mutex<Choices>>,
}

impl ServerClock {
    pub fn new(now_us: i64, wall_set_by_us: Arc<AtomicI64>, ids: Arc<Mutex<Choices>>) -> Arc<Self> {
        Arc::new(Self {
            true_us: AtomicI64::new(now_us),
            wall_set_by_us,
            ids,
        })
    }

    pub fn set(&self, now_us: i64) {
        self.true_us.store(now_us, Ordering::SeqCst);
    }
}

impl Clock for ServerClock {
    fn now_us(&self) -> i64 {
        self.lease_us() + self.wall_set_by_us.load(Ordering::SeqCst)
    }

    fn lease_us(&self) -> i64 {
        START_MS.cast_signed() * 1_000 + self.monotonic_us()
    }

    fn monotonic_us(&self) -> i64 {
        self.true_us.load(Ordering::SeqCst)
    }

    fn new_id(&self) -> Uuid {
        let mut random = [0; 10];
        let mut ids = self.ids.lock().expect("nothing panics while holding it");
        for chunk in random.chunks_mut(8) {
            let drawn = ids.draw().to_le_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
        let milliseconds = u64::try_from(self.lease_us() / 1_000).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid()
    }
}
