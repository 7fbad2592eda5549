//! Tells followers of sets that something changed, at most ten times a second, never once per command.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fleetwright_protocol::SetId;
use tokio::sync::Notify;

use crate::events::Signals;
use crate::loops::Place;

/// Ten times a second is as fast as a person or a progress bar can use.
const PAUSE: Duration = Duration::from_millis(100);

/// Collects the ids of changed sets until the publisher takes them.
#[derive(Clone, Default)]
pub(super) struct Notices {
    inner: Arc<NoticeBoard>,
}

#[derive(Default)]
struct NoticeBoard {
    changed: Mutex<BTreeSet<SetId>>,
    wake: Notify,
}

impl Notices {
    pub fn changed(&self, sets: BTreeSet<SetId>) {
        if sets.is_empty() {
            return;
        }
        self.lock().extend(sets);
        self.inner.wake.notify_one();
    }

    /// Publishes `set:<id>` for every changed set, then `sets`, for ever.
    pub async fn publish(self, signals: Signals, place: Place) {
        loop {
            self.inner.wake.notified().await;
            let run = place.begin();
            let changed = std::mem::take(&mut *self.lock());
            for id in changed {
                signals.publish(&format!("set:{id}"));
            }
            signals.publish("sets");
            drop(run);
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<SetId>> {
        self.inner
            .changed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
