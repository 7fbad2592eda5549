//! Real agents against a real server, from enrollment to results; and what the server does with agents that break the
//! protocol.

mod delivery;
mod endings;
mod identity;
mod renewal;
mod repeated;
mod running;
mod streams;
mod wire;

use std::time::Duration;

use fleetwright_tests::fleet::{Setup, TestFleet};

/// A revoked agent is cut off at once and within 5 s at most; looking for it on a busy machine takes time of its own.
const CUT_PATIENCE: Duration = Duration::from_secs(15);

/// A community server with one approved, running agent; its host id.
fn fleet_of_one() -> (TestFleet, String) {
    let mut fleet = Setup::community().start();
    let host = fleet.add_agent("one.test", &["web"]);
    (fleet, host)
}
