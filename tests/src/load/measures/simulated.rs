//! The figure of delivery: a bulk operation over ten thousand simulated agents, over TLS, durable. Alone or taking turns
//! with another build; see [`Turns`](crate::load::turns::Turns).

use std::time::Duration;

use super::bulk;
use super::server::server_on;
use super::size::Size;
use crate::databases::Engine;
use crate::load::agent::Behaviour;
use crate::load::crowd::Crowd;
use crate::load::report::{Report, say};

/// As real agents do by default.
const HEARTBEAT: Duration = Duration::from_secs(10);
const RUNS: usize = 7;

pub fn measure_sqlite(report: &mut Report, size: Size) {
    measure(report, size, Engine::Sqlite, "");
}

/// Durable only with `FLEETWRIGHT_TEST_POSTGRES_FSYNC` set: the tests' clusters do not flush otherwise.
pub fn measure_postgres(report: &mut Report, size: Size) {
    measure(report, size, Engine::Postgres, " on PostgreSQL");
}

fn measure(report: &mut Report, size: Size, engine: Engine, place: &str) {
    let hosts = size.of(10_000);
    let fleet = server_on(engine);
    let mut crowd = Crowd::new(fleet.server.agent_listen, HEARTBEAT);
    let token = fleet.admin.enrollment_token(hosts, true, &["crowd"]);
    let identities = crowd.enroll(&token, "crowd", usize::try_from(hosts).unwrap_or_default());
    crowd.connect(&identities, Behaviour::Succeed(Duration::ZERO));
    say(&format!(
        "{hosts} agents are connected to the server, process {}",
        fleet.server.process().pid()
    ));
    bulk::report_runs(report, &fleet, place, "crowd", hosts, size.runs(RUNS));
}
