//! The agent's clocks. Leases count on the boot-time clock, which a change of the wall clock does not move and
//! which runs on while the machine sleeps; only tombstones and certificates use wall time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since boot, including time asleep.
pub fn boot_ms() -> u64 {
    since_zero_ms(ClockId::Boottime)
}

/// Milliseconds on the monotonic clock: how long a run took.
pub fn monotonic_ms() -> u64 {
    since_zero_ms(ClockId::Monotonic)
}

/// Milliseconds since 1970 by the wall clock, which may step.
pub fn unix_ms() -> u64 {
    since_zero_ms(ClockId::Realtime)
}

/// Whole seconds since 1970 by the wall clock.
pub fn unix_seconds() -> u64 {
    unix_ms() / 1_000
}

fn since_zero_ms(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let seconds = Duration::from_secs(u64::try_from(now.tv_sec).unwrap_or_default());
    let whole = u64::try_from(seconds.as_millis()).unwrap_or(u64::MAX);
    whole.saturating_add(u64::try_from(now.tv_nsec).unwrap_or_default() / 1_000_000)
}
