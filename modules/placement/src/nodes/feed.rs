//! What agents say of their hosts' capacity, as it comes from the server. The registry takes it; who brings it is not its matter.

use std::future::Future;
use std::time::Duration;

use fleetwright_plugin_api::sdk::ServerError;
use uuid::Uuid;

use super::fleet::Fleet;
use super::node::Capacity;

/// Before the feed is asked again after it failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);

/// One heartbeat.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    pub host_id: Uuid,
    /// By this server's lease clock.
    pub heard_lease_us: i64,
    /// By its wall clock, for people.
    pub heard_at_us: i64,
    pub capacity: Capacity,
}

/// Whoever brings heartbeats, in the order they came.
pub trait CapacityFeed: Send + Sync {
    /// Waits for the next ones; never none.
    fn next(&self) -> impl Future<Output = Result<Vec<Heartbeat>, ServerError>> + Send;
}

/// Follows a feed for ever.
pub async fn follow(fleet: Fleet, feed: impl CapacityFeed) {
    loop {
        let heard = match feed.next().await {
            Ok(heartbeats) => fleet.hear(heartbeats).await,
            Err(error) => Err(error),
        };
        if let Err(error) = heard {
            tracing::warn!(%error, "what agents say of their capacity cannot be followed");
            fleet.server().sleep(PAUSE_AFTER_FAILURE).await;
        }
    }
}
