//! What the server's configuration says to this module. What it does not say has its default.

use fleetwright_plugin_api::sdk::Server;
use serde::Deserialize;

/// Switches and limits, as the server was started with them.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Critical jobs may take the seats of others.
    pub preemption: bool,
    /// Budgets are enforced.
    pub budgets: bool,
    pub placement: Limits,
}

/// The server's `[placement]` table.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default)]
pub struct Limits {
    /// A node without a heartbeat for so long is no candidate.
    pub node_stale_seconds: u32,
    /// What a node keeps free, in MiB.
    pub headroom_mb: u64,
    /// vCPUs for each CPU of a node.
    pub cpu_overcommit: f64,
    pub strategy: Strategy,
    /// A placement that nobody confirms for so long is given up.
    pub lease_seconds: u32,
    pub job_lease_seconds: u32,
    /// A factory that says nothing for so long is stale.
    pub factory_stale_seconds: u32,
    /// How often leases that ran out are looked for.
    pub job_reap_seconds: u32,
}

/// Which of the nodes that fit is taken.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// The one with the most free memory.
    Spread,
    /// The one with the least.
    Binpack,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            node_stale_seconds: 35,
            headroom_mb: 512,
            cpu_overcommit: 4.0,
            strategy: Strategy::Spread,
            lease_seconds: 120,
            job_lease_seconds: 900,
            factory_stale_seconds: 90,
            job_reap_seconds: 30,
        }
    }
}

impl Settings {
    /// As the server gives them.
    pub fn of(server: &Server) -> Self {
        let switch = |name| server.setting(name).as_bool().unwrap_or(false);
        Self {
            preemption: switch("preemption"),
            budgets: switch("budgets"),
            placement: Limits::deserialize(server.setting("placement")).unwrap_or_default(),
        }
    }
}
