//! The server's clock in a simulation: moved by the world, and ids that follow from the seed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use fleetwright_server::clock::Clock;
use uuid::Uuid;

use super::computer::START_MS;
use crate::seed::Choices;

/// One per life of the server: its wall clock is read at its start and goes on evenly from there.
pub struct ServerClock {
    true_us: AtomicI64,
    wall_offset_us: i64,
    ids: Arc<Mutex<Choices>>,
}

impl ServerClock {
    pub fn new(now_us: i64, wall_offset_us: i64, ids: Arc<Mutex<Choices>>) -> Arc<Self> {
        Arc::new(Self {
            true_us: AtomicI64::new(now_us),
            wall_offset_us,
            ids,
        })
    }

    pub fn set(&self, now_us: i64) {
        self.true_us.store(now_us, Ordering::SeqCst);
    }
}

impl Clock for ServerClock {
    fn now_us(&self) -> i64 {
        START_MS.cast_signed() * 1_000 + self.monotonic_us() + self.wall_offset_us
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
        let milliseconds = u64::try_from(self.now_us() / 1_000).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid()
    }
}
