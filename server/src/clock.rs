//! The one source of time and of new ids. Everything that needs either takes a [`Clock`], so that tests can drive it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::RngCore as _;
use uuid::Uuid;

/// Time in microseconds since the Unix epoch, and ids made from it.
pub trait Clock: Send + Sync + 'static {
    /// Wall time in µs. It may step with the machine's clock.
    fn now_us(&self) -> i64;

    /// Monotonic time in µs since some fixed instant: for leases and time limits.
    fn monotonic_us(&self) -> i64;

    /// A new UUIDv7: sorts by creation time to the millisecond.
    fn new_id(&self) -> Uuid {
        let mut random = [0_u8; 10];
        rand::rng().fill_bytes(&mut random);
        let milliseconds = u64::try_from(self.now_us() / 1_000).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid()
    }
}

pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock, read once: wall time then advances with monotonic time, so that a step of the machine's
/// clock neither expires nor prolongs anything while the server runs.
pub struct SystemClock {
    started: Instant,
    started_us: i64,
}

impl SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the machine's clock"
    )]
    pub fn shared() -> SharedClock {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Arc::new(Self {
            started: Instant::now(),
            started_us: i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        })
    }
}

impl Clock for SystemClock {
    fn now_us(&self) -> i64 {
        self.started_us.saturating_add(self.monotonic_us())
    }

    fn monotonic_us(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
}

/// A clock that stands still until it is told to move.
pub struct ManualClock {
    now_us: AtomicI64,
}

impl ManualClock {
    pub fn at(now_us: i64) -> Arc<Self> {
        Arc::new(Self {
            now_us: AtomicI64::new(now_us),
        })
    }

    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.now_us.fetch_add(by, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_us(&self) -> i64 {
        self.now_us.load(Ordering::SeqCst)
    }

    fn monotonic_us(&self) -> i64 {
        self.now_us()
    }
}
