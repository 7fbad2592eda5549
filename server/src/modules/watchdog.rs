//! Looks after modules: one whose poll does not come back is stuck, its routes answer 503 until it does, and the thread it
//! keeps is made up for.

use tokio_util::sync::CancellationToken;

use super::Modules;
use super::activity::{Activity, Health};
use crate::loops::{Loop, Loops};

/// The promise is "stuck within 10 s"; looking takes up to one second of that.
pub const STUCK_AFTER_US: i64 = 8_000_000;

pub async fn run(modules: Modules, loops: Loops, shutdown: CancellationToken) {
    let looking = loops.take(Loop::ModuleWatchdog).every(|| async {
        look(&modules);
    });
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = looking => {}
    }
}

/// Judges every module, whatever its stage, and those that were replaced: a poll that does not come back keeps a thread
/// from all the others, be it of a request, a start, or a destructor.
pub fn look(modules: &Modules) {
    let mut watched: Vec<(String, Activity)> = modules
        .loaded()
        .iter()
        .map(|loaded| (loaded.info.name.clone(), loaded.activity.clone()))
        .collect();
    {
        let mut retired = modules.retired();
        retired.retain(|(_, activity)| activity.is_shared());
        watched.extend(retired.iter().cloned());
    }
    if judge(&watched) {
        modules.registry.runtime.replace_threads();
    }
}

/// Whether any of these has newly got stuck. One that is listed twice is judged once: the second time nothing is new.
fn judge(watched: &[(String, Activity)]) -> bool {
    let mut newly_stuck = false;
    for (name, activity) in watched {
        let (now, before) = activity.judge(STUCK_AFTER_US);
        if now == before {
            continue;
        }
        match now {
            Health::Stuck => {
                newly_stuck = true;
                tracing::error!(
                    "module {name} blocks its thread; its routes answer 503 until it comes back"
                );
            }
            Health::Degraded => tracing::warn!("module {name} misses its deadline again and again"),
            Health::Good => tracing::info!("module {name} is well again"),
        }
    }
    newly_stuck
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_blocked_poll_counts_once_and_what_only_the_watchdog_holds_is_forgotten() {
        let clock = ManualClock::at(1_000);
        let module = Activity::new(clock.clone());
        let watched = vec![("gone".to_owned(), module.clone())];
        let (seen, looked) = (watched.clone(), clock.clone());
        let mut blocked = Box::pin(module.watch(async move {
            let first = judge(&seen);
            looked.advance(Duration::from_secs(8));
            [first, judge(&seen), judge(&seen)]
        }));
        drop(module);
        assert!(watched[0].1.is_shared(), "a poll of it is under way");
        let polled = blocked
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Ready([false, true, false]));
        drop(blocked);
        assert!(!watched[0].1.is_shared(), "nothing of it is left");
    }
}
