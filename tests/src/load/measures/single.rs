//! How long one command takes on a host that has nothing else to do: from the POST until the agent hears that its
//! result is stored, which is said after the commit.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::server::server_on;
use super::size::Size;
use crate::client::script;
use crate::databases::Engine;
use crate::http::Connection;
use crate::load::agent::Behaviour;
use crate::load::crowd::Crowd;
use crate::load::report::{Better, Measurement, Report};
use crate::load::statistics::{milliseconds, percentile, spread};
use crate::wait::pause;

const HEARTBEAT: Duration = Duration::from_secs(10);
/// Enough for a 99th percentile of ten values above it.
const COMMANDS: usize = 1_000;
/// Between two looks: a twentieth of the shortest time to be told.
const LOOK_EVERY: Duration = Duration::from_micros(100);
const PATIENCE: Duration = Duration::from_secs(60);

pub fn measure(report: &mut Report, size: Size) {
    one(report, size, Engine::Sqlite, "");
    one(report, size, Engine::Postgres, " on PostgreSQL");
}

fn one(report: &mut Report, size: Size, engine: Engine, place: &str) {
    let fleet = server_on(engine);
    let mut crowd = Crowd::new(fleet.server.agent_listen, HEARTBEAT);
    let token = fleet.admin.enrollment_token(1, true, &["single"]);
    let identities = crowd.enroll(&token, "single", 1);
    crowd.connect(&identities, Behaviour::Succeed(Duration::ZERO));
    let host = identities.first().expect("one is enrolled").host_id;
    let path = format!("/hosts/{host}/commands");
    let request = fleet.admin.request("POST", &path).json(&script("echo hi"));
    let mut connection = Connection::open(fleet.admin.address).expect("the server listens");
    let acknowledged = || crowd.counters().acknowledged.load(Ordering::Relaxed);
    let mut took = Vec::with_capacity(COMMANDS);
    for _ in 0..size.of(COMMANDS as u64) {
        let before = acknowledged();
        let started = Instant::now();
        let answer = connection.exchange(&request).expect("the server answers");
        assert!(matches!(answer.status, 201 | 202), "{}", answer.text());
        while acknowledged() == before {
            assert!(started.elapsed() < PATIENCE, "the result is not stored");
            pause(LOOK_EVERY);
        }
        took.push(started.elapsed());
    }
    for percent in [50.0, 99.0] {
        let value = milliseconds(percentile(&took, percent));
        let name = format!("one command on one idle host{place}, p{percent}");
        report.add(
            Measurement::new(&name, 1, "ms", spread(&[value]), Better::Lower)
                .limited_by("three commits that follow each other, each a flush"),
        );
    }
}
