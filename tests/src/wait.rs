//! Waiting for a condition with a deadline: the one pause of all tests lives here.

use std::time::{Duration, Instant};

/// Long enough for a loaded two-core machine; a condition that holds is seen within one pause.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks: short beside anything waited for, long enough not to starve what is waited for.
const PAUSE: Duration = Duration::from_millis(15);

/// Polls `probe` until it yields a value. Panics, naming `what`, when `patience` runs out.
pub fn wait_for<T>(what: &str, patience: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(
            started.elapsed() < patience,
            "waited {patience:?} for {what}"
        );
        pause(PAUSE);
    }
}

/// Like [`wait_for`], for a plain condition.
pub fn wait_until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    wait_for(what, patience, || holds().then_some(()));
}

/// Keeps looking for the whole of `during` and panics as soon as `holds` is false: for claims that something
/// does *not* happen.
pub fn holds_throughout(what: &str, during: Duration, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while started.elapsed() < during {
        assert!(
            holds(),
            "{what} stopped holding after {:?}",
            started.elapsed()
        );
        pause(PAUSE);
    }
}

/// For fault loops, where the moment itself is what is varied.
pub fn pause(duration: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "polling needs one pause, and this is it"
    )]
    std::thread::sleep(duration);
}
