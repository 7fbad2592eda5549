//! Claims: how fast many factories at once are given jobs out of queues of several lengths, each job once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::size::Size;
use crate::client::{Client, number, text};
use crate::databases::Engine;
use crate::fleet::{Setup, TestFleet};
use crate::http::{Connection, Request};
use crate::load::report::{Better, Measurement, Report, say};
use crate::load::statistics::{milliseconds, percentile, spread};

const CLAIMERS: u64 = 64;
/// Of one run, and at most as many as are queued: long beside the moment in which the claimers begin.
const CLAIMS: u64 = 6_400;
/// Jobs of one submit: some hundred kilobytes.
const JOBS_PER_SUBMIT: u64 = 1_000;
/// Queues in which they wait: each product and priority has one.
const PRODUCTS: u64 = 8;
const PRIORITIES: [&str; 3] = ["low", "normal", "high"];

/// What one claimer was given: the job, and after how long.
type Given = (String, Duration);

pub fn measure_sqlite(report: &mut Report, size: Size) {
    measure(report, size, Engine::Sqlite, "");
}

/// Durable only with `FLEETWRIGHT_TEST_POSTGRES_FSYNC` set: the tests' clusters do not flush otherwise.
pub fn measure_postgres(report: &mut Report, size: Size) {
    measure(report, size, Engine::Postgres, " on PostgreSQL");
}

fn measure(report: &mut Report, size: Size, engine: Engine, place: &str) {
    for queued in [1_000, 10_000, 100_000].map(|full| size.of(full)) {
        one_length(report, engine, place, queued);
    }
}

fn one_length(report: &mut Report, engine: Engine, place: &str, queued: u64) {
    let fleet = server_on(engine);
    let started = Instant::now();
    submit(&fleet.admin, queued);
    say(&format!(
        "{queued} jobs submitted in {:?}",
        started.elapsed()
    ));
    let claims = CLAIMS.min(queued);
    let factories = register(&fleet.admin, claims);
    let cpu_before = fleet.server.process().cpu_time();
    let started = Instant::now();
    let given = claim(&fleet.admin, &factories);
    let took = started.elapsed();
    let cpu = fleet.server.process().cpu_time().saturating_sub(cpu_before);
    check(&fleet, &given, queued, claims);
    let rate = claims as f64 / took.as_secs_f64();
    let latencies: Vec<Duration> = given.iter().map(|(_, latency)| *latency).collect();
    let mut add = |name: &str, unit, figure: f64, better| {
        let name = format!("{name}{place}");
        let one = Measurement::new(&name, queued, unit, spread(&[figure]), better);
        report.add(one.limited_by("each claim is durable before it is answered"));
    };
    add(
        "claims of 64 factories at once",
        "claims/s",
        rate,
        Better::Higher,
    );
    let p99 = milliseconds(percentile(&latencies, 99.0));
    add("p99 of a claim among 64", "ms", p99, Better::Lower);
    let cost = cpu.as_secs_f64() * 1e6 / claims as f64;
    add("server CPU per claim", "µs", cost, Better::Lower);
}

/// Where no factory is taken for silent while it claims.
fn server_on(engine: Engine) -> TestFleet {
    Setup::pro()
        .on(engine)
        .with("limits = { requests_per_second = 0 }")
        .with("placement = { factory_stale_seconds = 3600, job_lease_seconds = 3600 }")
        .start()
}

/// As children of composites, which have no work of their own and wait for them.
fn submit(admin: &Client, queued: u64) {
    let mut connection = Connection::open(admin.address).expect("the server listens");
    let mut first = 0;
    while first < queued {
        let after = queued.min(first + JOBS_PER_SUBMIT);
        let children: Vec<Value> = (first..after).map(job).collect();
        let body = json!({
            "idempotency_key": format!("all from {first}"), "kind": "composite", "product_id": "all", "children": children,
        });
        let request = admin.request("POST", "/fleet/jobs").json(&body);
        let answer = connection.exchange(&request).expect("the server answers");
        answer.expect(201);
        first = after;
    }
}

fn job(number: u64) -> Value {
    let priority = PRIORITIES[usize::try_from(number).unwrap_or_default() % PRIORITIES.len()];
    json!({
        "idempotency_key": format!("job {number}"), "product_id": format!("product {}", number % PRODUCTS),
        "priority": priority, "body_md": "Build it.",
    })
}

/// One for each claimer, with seats for its part: its id, and how many it is to claim.
fn register(admin: &Client, claims: u64) -> Vec<(String, u64)> {
    (0..CLAIMERS)
        .map(|one| {
            let part = claims / CLAIMERS + u64::from(one < claims % CLAIMERS);
            let body = json!({"name": format!("factory {one}"), "capabilities": [], "seat_limit": part.max(1)});
            let made = admin.post("/fleet/factories", &body).expect(201);
            (text(&made, "id"), part)
        })
        .collect()
}

/// Everybody at once, each on a connection of its own, one claim after the other.
fn claim(admin: &Client, factories: &[(String, u64)]) -> Vec<Given> {
    std::thread::scope(|scope| {
        let claiming: Vec<_> = factories
            .iter()
            .map(|(factory, part)| scope.spawn(move || claim_part(admin, factory, *part)))
            .collect();
        let given = claiming.into_iter();
        given
            .flat_map(|one| one.join().expect("claiming does not panic"))
            .collect()
    })
}

fn claim_part(admin: &Client, factory: &str, part: u64) -> Vec<Given> {
    let mut connection = Connection::open(admin.address).expect("the server listens");
    let mut given = Vec::new();
    for number in 0..part {
        let body = json!({"factory_id": factory, "claim_id": format!("{number}")});
        let request: Request = admin.request("POST", "/fleet/jobs/claim").json(&body);
        let started = Instant::now();
        let answer = connection.exchange(&request).expect("the server answers");
        let latency = started.elapsed();
        given.push((text(&answer.expect(200), "id"), latency));
    }
    given
}

/// Every job was given once, and the kept counts say the same.
fn check(fleet: &TestFleet, given: &[Given], queued: u64, claims: u64) {
    let mut times: BTreeMap<&str, u64> = BTreeMap::new();
    for (job, _) in given {
        *times.entry(job).or_default() += 1;
    }
    assert_eq!(times.len() as u64, claims, "jobs that were given");
    assert!(
        times.values().all(|count| *count == 1),
        "one was given twice"
    );
    let counts = fleet.admin.get("/fleet/jobs/counts").expect(200);
    let of_stage = |stage: &str| counts["totals"][stage].as_u64().unwrap_or_default();
    assert_eq!(
        (of_stage("assigned"), of_stage("queued")),
        (claims, queued - claims)
    );
    let factories = fleet.admin.all("/fleet/factories");
    let seats: u64 = factories.iter().map(|one| number(one, "seats_used")).sum();
    assert_eq!(seats, claims, "seats that are taken");
}
