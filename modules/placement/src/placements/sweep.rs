//! What moves placements on without anybody asking: time that is over, VMs that heartbeats show or miss, hosts that are gone. Each
//! pass looks at what is stored or known, and misses nothing if it is stopped anywhere.

use std::time::Duration;

use fleetwright_plugin_api::sdk::{Batch, ServerError};
use uuid::Uuid;

use super::placement::State;
use super::store;
use crate::nodes::fleet::{Fleet, NODES_SIGNAL};
use crate::nodes::node::Live;

const EVERY: Duration = Duration::from_secs(1);
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);
/// Rows of one read or commit.
const PAGE: i64 = 500;
/// As long as operations are kept.
const KEPT_US: i64 = 90 * 24 * 3_600 * 1_000_000;

/// Moves placements on, for ever.
pub async fn run(fleet: Fleet) {
    loop {
        let swept = async {
            expire(&fleet).await?;
            follow_heartbeats(&fleet).await
        };
        if let Err(error) = swept.await {
            tracing::warn!(%error, "placements could not be moved on");
        }
        fleet.server().sleep(EVERY).await;
    }
}

/// Drops what ended long ago, now and every hour.
pub async fn prune(fleet: Fleet) {
    loop {
        if let Err(error) = prune_once(&fleet).await {
            tracing::warn!(%error, "old placements could not be dropped");
        }
        fleet.server().sleep(PRUNE_EVERY).await;
    }
}

/// Ends those that nobody confirmed in time. One whose VM the last heartbeat shows is confirmed first.
pub async fn expire(fleet: &Fleet) -> Result<(), ServerError> {
    follow_heartbeats(fleet).await?;
    loop {
        let lease_us = fleet.server().lease_us();
        let overdue = store::overdue(fleet.server().db(), lease_us, PAGE).await?;
        let mut moved = false;
        for (node_id, live) in &overdue {
            let reason = "not confirmed in time";
            moved |= end(fleet, *node_id, live, State::Expired, reason).await?;
        }
        if !moved {
            return Ok(());
        }
        fleet.refresh().await?;
    }
}

/// Confirms those whose VMs heartbeats show; gives up those whose VMs three in a row have missed, or whose host is gone.
pub async fn follow_heartbeats(fleet: &Fleet) -> Result<(), ServerError> {
    let due: Vec<(Uuid, Live, bool)> = {
        let registry = fleet.read().await?;
        let due = registry.due().into_iter().filter_map(|(node_id, id)| {
            let node = registry.node(node_id)?;
            let live = node.live.get(&id)?.clone();
            Some((node_id, live, node.is_deleted))
        });
        due.collect()
    };
    let is_due = !due.is_empty();
    for (node_id, live, is_gone) in due {
        if is_gone {
            end(fleet, node_id, &live, State::Lost, "its host is gone").await?
        } else if live.confirmed {
            let reason = "three heartbeats in a row were without the VM";
            end(fleet, node_id, &live, State::Lost, reason).await?
        } else {
            confirm(fleet, node_id, &live).await?
        };
    }
    if is_due {
        // Moved on here or by somebody else: what is known of it is read again.
        fleet.refresh().await?;
    }
    Ok(())
}

async fn prune_once(fleet: &Fleet) -> Result<(), ServerError> {
    let server = fleet.server();
    let before_us = server.earlier_us().saturating_sub(KEPT_US);
    loop {
        let old = store::old(server.db(), before_us, PAGE).await?;
        if old.is_empty() {
            return Ok(());
        }
        let batch = Batch::new().sql(store::delete(&old));
        server.db().commit(&server.own_context(), batch).await?;
    }
}

async fn confirm(fleet: &Fleet, node_id: Uuid, live: &Live) -> Result<bool, ServerError> {
    let batch = store::confirm(Batch::new(), node_id, live, fleet.server().now_us());
    commit(fleet, batch.signal(NODES_SIGNAL)).await
}

async fn end(
    fleet: &Fleet,
    node_id: Uuid,
    live: &Live,
    to: State,
    reason: &str,
) -> Result<bool, ServerError> {
    let now_us = fleet.server().now_us();
    let batch = store::end(Batch::new(), node_id, live, to, Some(reason), now_us);
    commit(fleet, batch.signal(NODES_SIGNAL)).await
}

/// False: it is not any more as it was read.
async fn commit(fleet: &Fleet, batch: Batch) -> Result<bool, ServerError> {
    let server = fleet.server();
    match server.db().commit(&server.own_context(), batch).await {
        Ok(()) => Ok(true),
        Err(ServerError::Guard { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
