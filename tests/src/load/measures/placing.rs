//! Placements over fleets of several sizes, whose simulated agents are connected and say how they are: how many a second are
//! decided, stored and answered, and that none passes what a node has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::size::Size;
use crate::client::{Client, number, text};
use crate::databases::Engine;
use crate::fleet::{Setup, TestFleet};
use crate::http::Connection;
use crate::load::agent::Behaviour;
use crate::load::crowd::Crowd;
use crate::load::report::{Better, Measurement, Report, say};
use crate::load::statistics::{milliseconds, percentile, spread};
use crate::wait::wait_until;

/// As real agents do by default.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Until everybody has said how it is.
const PATIENCE: Duration = Duration::from_secs(120);
const ASKERS: u64 = 64;
/// Of one run. A hundred simulated nodes have room for 1,600 VMs of one vCPU.
const PLACEMENTS: u64 = 1_500;
const RUNS: usize = 3;
/// Simulated nodes have 4 CPUs, and 4 vCPUs for each.
const VCPUS_EACH: u64 = 16;
/// 16 of these fit into the memory that a simulated node has.
const MEMORY_MB: u64 = 128;

pub fn measure_sqlite(report: &mut Report, size: Size) {
    measure(report, size, Engine::Sqlite, "");
}

/// Durable only with `FLEETWRIGHT_TEST_POSTGRES_FSYNC` set: the tests' clusters do not flush otherwise.
pub fn measure_postgres(report: &mut Report, size: Size) {
    measure(report, size, Engine::Postgres, " on PostgreSQL");
}

/// The fleet grows from one size to the next.
fn measure(report: &mut Report, size: Size, engine: Engine, place: &str) {
    let fleet = server_on(engine);
    let mut crowd = Crowd::new(fleet.server.agent_listen, HEARTBEAT);
    let mut known = 0;
    for nodes in [100, 1_000, 5_000, 10_000].map(|full| size.of(full)) {
        let more = nodes - known;
        if more == 0 {
            continue;
        }
        let token = fleet.admin.enrollment_token(more, true, &[]);
        let prefix = format!("to-{nodes}");
        let identities = crowd.enroll(&token, &prefix, usize::try_from(more).unwrap_or_default());
        crowd.connect(&identities, Behaviour::Succeed(Duration::ZERO));
        known = nodes;
        wait_until("every node to be ready", PATIENCE, || {
            let status = fleet.admin.get("/fleet/status").expect(200);
            number(&status["nodes"], "ready") == nodes
        });
        say(&format!("{nodes} nodes are ready"));
        one_size(report, size, &fleet.admin, place, nodes);
    }
}

/// Where no placement runs out while others are asked for.
fn server_on(engine: Engine) -> TestFleet {
    Setup::pro()
        .on(engine)
        .with("limits = { requests_per_second = 0 }")
        .with("placement = { lease_seconds = 3600 }")
        .start()
}

fn one_size(report: &mut Report, size: Size, admin: &Client, place: &str, nodes: u64) {
    let asked = PLACEMENTS.min(nodes * VCPUS_EACH - 1);
    let (mut rates, mut slow) = (Vec::new(), Vec::new());
    // The first one pays for pages and caches that stay.
    for run in 0..=size.runs(RUNS) {
        let started = Instant::now();
        let placed = place_all(admin, asked);
        let took = started.elapsed();
        check(admin, &placed, asked);
        release_all(admin, &placed);
        if run > 0 {
            rates.push(asked as f64 / took.as_secs_f64());
            let latencies: Vec<Duration> = placed.iter().map(|one| one.1).collect();
            slow.push(milliseconds(percentile(&latencies, 99.0)));
        }
    }
    let named = |name: &str, unit, figures: &[f64], better| {
        let name = format!("{name}{place}");
        let one = Measurement::new(&name, nodes, unit, spread(figures), better);
        one.limited_by("each is durable before it is answered; heartbeats meanwhile")
    };
    report.add(named("placements", "placements/s", &rates, Better::Higher));
    report.add(named(
        "p99 of a placement among 64",
        "ms",
        &slow,
        Better::Lower,
    ));
}

/// Sixty-four ask at once, each on a connection of its own: the placements, and after how long each was answered.
fn place_all(admin: &Client, asked: u64) -> Vec<(Value, Duration)> {
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..ASKERS)
            .map(|one| {
                let part = asked / ASKERS + u64::from(one < asked % ASKERS);
                scope.spawn(move || place_part(admin, part))
            })
            .collect();
        let placed = asking.into_iter();
        placed
            .flat_map(|one| one.join().expect("asking does not panic"))
            .collect()
    })
}

fn place_part(admin: &Client, part: u64) -> Vec<(Value, Duration)> {
    let mut connection = Connection::open(admin.address).expect("the server listens");
    let body = json!({"tenant_id": "bench", "memory_mb": MEMORY_MB, "vcpus": 1});
    let request = admin.request("POST", "/fleet/placements").json(&body);
    (0..part)
        .map(|_| {
            let started = Instant::now();
            let answer = connection.exchange(&request).expect("the server answers");
            let latency = started.elapsed();
            (answer.expect(201), latency)
        })
        .collect()
}

/// No node has more than fits, and all of it is held.
fn check(admin: &Client, placed: &[(Value, Duration)], asked: u64) {
    let mut by_node: BTreeMap<String, u64> = BTreeMap::new();
    for (placement, _) in placed {
        *by_node.entry(text(placement, "node_id")).or_default() += 1;
    }
    assert!(
        by_node.values().all(|count| *count <= VCPUS_EACH),
        "{by_node:?}"
    );
    let status = admin.get("/fleet/status").expect(200);
    let held = &status["held"];
    assert_eq!(
        (number(held, "placements"), number(held, "memory_mb")),
        (asked, asked * MEMORY_MB)
    );
}

fn release_all(admin: &Client, placed: &[(Value, Duration)]) {
    std::thread::scope(|scope| {
        let part = placed
            .len()
            .div_ceil(usize::try_from(ASKERS).unwrap_or(1))
            .max(1);
        for some in placed.chunks(part) {
            scope.spawn(move || {
                let mut connection = Connection::open(admin.address).expect("the server listens");
                for (placement, _) in some {
                    let path = format!("/fleet/placements/{}", text(placement, "id"));
                    let request = admin.request("DELETE", &path);
                    let answer = connection.exchange(&request).expect("the server answers");
                    assert!(matches!(answer.status, 200 | 204), "{}", answer.text());
                }
            });
        }
    });
}
