//! Saves presence and last-seen times in batches: presence as it flips, last seen once a minute. The registry knows
//! first; this brings the inventory after it. Level-triggered: what could not be saved is saved next time.

use std::time::Duration;

use fleetwright_protocol::HostId;
use tokio_util::sync::CancellationToken;

use super::events::{changed_event, host_event};
use super::{Hosts, store};
use crate::db::DbError;
use crate::loops::{Loop, Loops, Place};

/// Flips that gather before they are saved: a reconnect storm becomes a few transactions.
const GATHER: Duration = Duration::from_millis(50);
/// After a failed save.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Hosts of one batch that are told of one by one: more would push everything else out of the kept events.
const EVENTS_MAX: usize = 50;
/// Hosts in one transaction, so that no other write waits long behind it.
const BATCH_MAX: usize = 2_000;

/// Saves presence and last-seen times, notices silence and tells of heartbeats, until shutdown; then saves what is left.
pub async fn run(hosts: Hosts, loops: Loops, shutdown: CancellationToken) {
    let saving = save_flips(&hosts, loops.take(Loop::Presence));
    let silence = loops.take(Loop::HostSilence).every(|| async {
        hosts.expire_silent();
    });
    let seen = loops.take(Loop::LastSeen).every(|| async {
        log_failure(save_last_seen(&hosts).await);
    });
    let telling = hosts
        .inner
        .heartbeats
        .publish(&hosts.parts().signals, loops.take(Loop::Capacity));
    tokio::select! {
        () = saving => {}
        () = telling => {}
        () = silence => {}
        () = seen => {}
        () = shutdown.cancelled() => {}
    }
    log_failure(save_last_seen(&hosts).await);
}

/// Saves the presence of every host that flipped; returns how many hosts were saved.
pub async fn save_presence(hosts: &Hosts) -> Result<usize, DbError> {
    let mut saved = 0;
    while let Some(flips) = hosts.registry().take_flipped(BATCH_MAX) {
        if flips.is_empty() {
            continue;
        }
        saved += flips.len();
        let ids: Vec<_> = flips.iter().map(|(id, _)| *id).collect();
        let handle = hosts.clone();
        let result = hosts
            .db()
            .write(move |tx| {
                let first = store::take_revisions(tx, flips.len())?;
                store::save_statuses_in(tx, &flips, first)?;
                let registry = handle.registry().clone();
                let last = first + i64::try_from(flips.len()).unwrap_or(i64::MAX) - 1;
                handle.announce(tx, last);
                tx.after_commit(move || {
                    registry.presence_stored(&flips);
                    tell(&handle, &flips);
                });
                Ok::<(), DbError>(())
            })
            .await;
        if let Err(error) = result {
            hosts.registry().mark_flipped(ids);
            return Err(error);
        }
    }
    Ok(saved)
}

/// Saves the last-seen time of every host seen since the last save; returns how many.
pub async fn save_last_seen(hosts: &Hosts) -> Result<usize, DbError> {
    let seen = hosts.registry().seen_since_stored();
    for batch in seen.chunks(BATCH_MAX) {
        let batch = batch.to_vec();
        let registry = hosts.registry().clone();
        hosts
            .db()
            .write(move |tx| {
                store::save_last_seen_in(tx, &batch)?;
                tx.after_commit(move || registry.last_seen_stored(&batch));
                Ok::<(), DbError>(())
            })
            .await?;
    }
    Ok(seen.len())
}

async fn save_flips(hosts: &Hosts, place: Place) {
    loop {
        hosts.registry().presence_changed().await;
        tokio::time::sleep(GATHER).await;
        let _run = place.begin();
        if let Err(error) = save_presence(hosts).await {
            tracing::warn!(%error, "presence could not be saved; it will be tried again");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

/// Tells the watching people: each host by itself, or all of them at once when they are many.
fn tell(hosts: &Hosts, flips: &[(HostId, bool)]) {
    let events = &hosts.parts().events;
    if flips.len() > EVENTS_MAX {
        events.publish(changed_event(flips.len()));
        return;
    }
    for (id, online) in flips {
        let kind = if *online {
            "host.online"
        } else {
            "host.offline"
        };
        events.publish(host_event(kind, *id, serde_json::json!({})));
    }
}

fn log_failure(result: Result<usize, DbError>) {
    if let Err(error) = result {
        tracing::warn!(%error, "last-seen times could not be saved; they will be with the next batch");
    }
}
