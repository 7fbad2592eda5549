//! The sources of time and of new ids. Everything that needs one takes a [`Clock`], so that tests can drive it.
//!
//! There are three clocks, and what a time is for decides which one it is on
//! ([0010](../../docs/decisions/0010-three-clocks.md)):
//! - **The wall clock**, `now_us`, is read each time and may step, because somebody sets it. It is for dates: what is shown
//!   to people (created, started, last seen, audit), schedules, licences, certificates, the days on which sessions and
//!   tokens end.
//! - **The lease clock**, `lease_us`, goes on evenly whatever becomes of the wall clock. It is for what may take, wait or
//!   stay so long and is stored: start leases, deadlines of runs, expiries of operations, waits of deployments, idempotency
//!   keys, access tokens. It begins as the wall clock and goes on with the machine's boot clock; a server that starts again
//!   on a machine that has not goes on where it was.
//! - **The boot clock**, `monotonic_us`, is for what is in memory only: silence, rests, rates, how long something took.
//!
//! What cannot be undone, such as deleting what has been kept long enough, happens only when both stored clocks agree:
//! [`Now::earlier_us`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::RngCore as _;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One moment on both clocks whose times are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    pub wall_us: i64,
    pub lease_us: i64,
}

impl Now {
    /// Where both clocks show the same, as they do while nobody sets the wall clock.
    pub const fn both(us: i64) -> Self {
        Self {
            wall_us: us,
            lease_us: us,
        }
    }

    /// For what must not happen too early by either clock.
    pub fn earlier_us(self) -> i64 {
        self.wall_us.min(self.lease_us)
    }
}

/// Times in µs, and ids made from them.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock: µs since the Unix epoch. It may step with the machine's clock.
    fn now_us(&self) -> i64;

    /// The lease clock: µs since roughly the Unix epoch, never stepping.
    fn lease_us(&self) -> i64;

    /// The boot clock: µs since some moment of this life of the server, times asleep included.
    fn monotonic_us(&self) -> i64;

    fn now(&self) -> Now {
        Now {
            wall_us: self.now_us(),
            lease_us: self.lease_us(),
        }
    }

    /// A new UUIDv7: sorts by creation time to the millisecond. By the lease clock, because commands of one host are sent in
    /// the order of their ids.
    fn new_id(&self) -> Uuid {
        let mut random = [0_u8; 10];
        rand::rng().fill_bytes(&mut random);
        let milliseconds = u64::try_from(self.lease_us() / 1_000).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid()
    }
}

/// No id that was made at this time of the lease clock or later sorts before this one.
pub fn first_id_at(lease_us: i64) -> Uuid {
    let milliseconds = u64::try_from(lease_us / 1_000).unwrap_or_default();
    Uuid::from_u128(u128::from(milliseconds) << 80)
}

pub type SharedClock = Arc<dyn Clock>;

/// The machine's clocks.
pub struct SystemClock {
    /// What the boot clock showed when this life began.
    started_boot_us: i64,
    /// From the boot clock to the lease clock.
    lease_offset_us: i64,
}

/// The name of a machine's boot, and from its boot clock to the lease clock: what a later life in the same boot goes on by.
#[derive(Serialize, Deserialize)]
struct Kept {
    boot_id: String,
    lease_offset_us: i64,
    /// The lease clock when this was written: it never goes back behind that.
    lease_us: i64,
}

impl SystemClock {
    /// For a process of its own: its lease clock begins as the wall clock shows.
    pub fn shared() -> SharedClock {
        Arc::new(Self::beginning_at(wall_us()))
    }

    /// For the server over this data folder, which keeps how its lease clock goes on.
    pub fn of_folder(folder: &Path) -> SharedClock {
        let boot_id = std::fs::read_to_string(BOOT_ID_FILE).unwrap_or_default();
        let boot_id = boot_id.trim();
        let kept = kept(folder);
        if let Some(kept) = &kept
            && kept.boot_id == boot_id
            && !boot_id.is_empty()
        {
            // Whatever has become of the wall clock since.
            let clock = Self {
                started_boot_us: boot_us(),
                lease_offset_us: kept.lease_offset_us,
            };
            let set_by_s = (clock.now_us() - clock.lease_us()) / 1_000_000;
            if set_by_s != 0 {
                tracing::warn!(
                    seconds = set_by_s,
                    "the wall clock was set since this machine was started; leases go on evenly"
                );
            }
            return Arc::new(clock);
        }
        // The machine was off for nobody but the wall clock knows how long.
        let not_before_us = kept.map_or(i64::MIN, |kept| kept.lease_us);
        let clock = Self::beginning_at(wall_us().max(not_before_us));
        let now = Kept {
            boot_id: boot_id.to_owned(),
            lease_offset_us: clock.lease_offset_us,
            lease_us: clock.lease_us(),
        };
        if let Err(error) = keep(folder, &now) {
            // Such as a full disk. The next life goes by the wall clock.
            tracing::warn!(%error, "the lease clock could not be kept");
        }
        Arc::new(clock)
    }

    fn beginning_at(lease_us: i64) -> Self {
        let started_boot_us = boot_us();
        Self {
            started_boot_us,
            lease_offset_us: lease_us.saturating_sub(started_boot_us),
        }
    }
}

impl Clock for SystemClock {
    fn now_us(&self) -> i64 {
        wall_us()
    }

    fn lease_us(&self) -> i64 {
        boot_us().saturating_add(self.lease_offset_us)
    }

    fn monotonic_us(&self) -> i64 {
        boot_us().saturating_sub(self.started_boot_us)
    }
}

/// Linux's name for the time since the machine was started.
const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the machine's wall clock"
)]
fn wall_us() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn boot_us() -> i64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec
        .saturating_mul(1_000_000)
        .saturating_add(time.tv_nsec / 1_000)
}

fn path(folder: &Path) -> PathBuf {
    folder.join("lease_clock.json")
}

/// What an earlier life kept. What cannot be read is as good as nothing: then the wall clock counts.
fn kept(folder: &Path) -> Option<Kept> {
    let text = std::fs::read(path(folder)).ok()?;
    serde_json::from_slice(&text).ok()
}

fn keep(folder: &Path, now: &Kept) -> io::Result<()> {
    let arriving = path(folder).with_extension("arriving");
    std::fs::write(&arriving, serde_json::to_vec(now)?)?;
    std::fs::File::open(&arriving)?.sync_all()?;
    std::fs::rename(&arriving, path(folder))
}

/// A clock that stands still until it is told to move.
pub struct ManualClock {
    lease_us: AtomicI64,
    /// From the lease clock to the wall clock.
    set_by_us: AtomicI64,
}

impl ManualClock {
    pub fn at(now_us: i64) -> Arc<Self> {
        Arc::new(Self {
            lease_us: AtomicI64::new(now_us),
            set_by_us: AtomicI64::new(0),
        })
    }

    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.lease_us.fetch_add(by, Ordering::SeqCst);
    }

    /// Sets the wall clock forward, or back; the others do not notice.
    pub fn step_wall(&self, by_us: i64) {
        self.set_by_us.fetch_add(by_us, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_us(&self) -> i64 {
        self.lease_us() + self.set_by_us.load(Ordering::SeqCst)
    }

    fn lease_us(&self) -> i64 {
        self.lease_us.load(Ordering::SeqCst)
    }

    fn monotonic_us(&self) -> i64 {
        self.lease_us()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_US: i64 = 24 * 3600 * 1_000_000;

    #[test]
    fn a_life_in_the_same_boot_goes_on_where_the_last_one_was_whatever_the_wall_clock_shows() {
        let folder = tempfile::tempdir().unwrap();
        let first = SystemClock::of_folder(folder.path());
        assert!((first.now_us() - first.lease_us()).abs() < 1_000_000);
        // As if the wall clock had been a day ahead when the first life began.
        let mut as_then = kept(folder.path()).unwrap();
        as_then.lease_offset_us += DAY_US;
        keep(folder.path(), &as_then).unwrap();
        let second = SystemClock::of_folder(folder.path());
        let ahead_us = second.lease_us() - second.now_us();
        assert!((ahead_us - DAY_US).abs() < 5_000_000, "{ahead_us}");
        assert!(second.monotonic_us() < 5_000_000);
        let id = second.new_id().get_timestamp().unwrap().to_unix().0;
        let lease_s = u64::try_from(second.lease_us() / 1_000_000).unwrap();
        assert!(id.abs_diff(lease_s) <= 5);
    }

    #[test]
    fn after_a_restart_of_the_machine_the_wall_clock_counts_but_never_backwards() {
        for (was_ahead_us, is_ahead_us) in [(-DAY_US, 0), (DAY_US, DAY_US)] {
            let folder = tempfile::tempdir().unwrap();
            let before = Kept {
                boot_id: "another".to_owned(),
                lease_offset_us: 17,
                lease_us: wall_us() + was_ahead_us,
            };
            keep(folder.path(), &before).unwrap();
            let clock = SystemClock::of_folder(folder.path());
            let ahead_us = clock.lease_us() - clock.now_us();
            assert!((ahead_us - is_ahead_us).abs() < 5_000_000, "{ahead_us}");
        }
        // What is damaged is as good as nothing.
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(path(folder.path()), "{").unwrap();
        let clock = SystemClock::of_folder(folder.path());
        assert!((clock.lease_us() - clock.now_us()).abs() < 5_000_000);
    }
}
