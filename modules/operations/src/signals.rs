//! The signals loops wait for. Hints only: whoever wakes looks at what is so.

use std::time::Duration;

use fleetwright_plugin_api::sdk::Server;
use fleetwright_protocol::SetId;
use futures_util::future::{Either, select};

/// Waiting since this generation misses nothing: a key that was ever published answers at once, so a signal between the
/// first look and the first wait is not lost.
pub const EVER: u64 = 1;

/// The signal of a set.
pub fn of_set(set_id: SetId) -> String {
    format!("set:{set_id}")
}

/// Waits for a signal after `since`, or so long; gives the generation to wait since next time.
pub async fn wake(server: &Server, keys: &[String], since: u64, pause: Duration) -> u64 {
    let signal = std::pin::pin!(server.signals().wait(keys, since));
    let timer = std::pin::pin!(server.sleep(pause));
    match select(signal, timer).await {
        Either::Left((generation, _)) => generation,
        Either::Right(((), _)) => since,
    }
}
