//! Bulk operations, each timed from the POST to the last stored result.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::requests;
use crate::client::{Client, is_terminal, number, text};
use crate::databases::Engine;
use crate::fleet::TestFleet;
use crate::http::Connection;
use crate::load::report::{Better, Measurement, Report, say};
use crate::load::statistics::{milliseconds, percentile, spread};
use crate::load::turns::Turns;
use crate::postgres;
use crate::wait::pause;

/// Between two looks at the progress: one of a hundred parts of the shortest operation that matters.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Of the bystanders' requests.
const BYSTANDER_PAUSE: Duration = Duration::from_millis(4);
const PATIENCE: Duration = Duration::from_secs(300);

pub struct Timed {
    pub took: Duration,
    /// From the POST to its answer.
    pub accepted_after: Duration,
    pub server_cpu: Duration,
    pub own_cpu: Duration,
    /// Of PostgreSQL, if the fleet is on it.
    pub database_cpu: Duration,
    /// Other requests' latencies meanwhile.
    pub bystanders: Vec<Duration>,
}

impl Timed {
    pub fn hosts_per_second(&self, hosts: u64) -> f64 {
        hosts as f64 / self.took.as_secs_f64()
    }

    /// µs of the server's CPU for each host.
    pub fn server_cost_us(&self, hosts: u64) -> f64 {
        self.server_cpu.as_secs_f64() * 1e6 / hosts as f64
    }

    /// Who was busy: shares of one core.
    pub fn busy(&self) -> String {
        let share = |cpu: Duration| cpu.as_secs_f64() / self.took.as_secs_f64();
        format!(
            "server {:.2} cores, load generator {:.2} cores",
            share(self.server_cpu),
            share(self.own_cpu)
        )
    }
}

/// Runs it so many times on every host with the tag and reports rate, cost and what others felt. `place` names the
/// circumstances in the measures' names.
pub fn report_runs(
    report: &mut Report,
    fleet: &TestFleet,
    place: &str,
    tag: &str,
    hosts: u64,
    runs: usize,
) {
    let turns = Turns::from_environment();
    let in_turn = || match &turns {
        Some(turns) => turns.take(|| run(fleet, tag, hosts)),
        None => run(fleet, tag, hosts),
    };
    // The first one pays for pages and caches that stay.
    in_turn();
    let mut all = Vec::with_capacity(runs);
    for number in 0..runs {
        let timed = in_turn();
        say(&format!(
            "bulk over {hosts}{place}, run {number}: {:?}, {}, {:.1} µs of server CPU a host",
            timed.took,
            timed.busy(),
            timed.server_cost_us(hosts),
        ));
        all.push(timed);
    }
    let each = |figure: &dyn Fn(&Timed) -> f64| spread(&all.iter().map(figure).collect::<Vec<_>>());
    let named = |name: &str, unit, spread, better| {
        Measurement::new(&format!("{name}{place}"), hosts, unit, spread, better)
    };
    let aim = |measurement: Measurement, target| match hosts >= 10_000 {
        true => measurement.target(target),
        false => measurement,
    };
    let rates = each(&|timed| timed.hosts_per_second(hosts));
    let rate = named("bulk operation", "hosts/s", rates, Better::Higher);
    report.add(aim(rate, 12_000.0).limited_by(all.last().map(Timed::busy).unwrap_or_default()));
    let costs = each(&|timed| timed.server_cost_us(hosts));
    let cost = named(
        "server CPU per host of a bulk operation",
        "µs",
        costs,
        Better::Lower,
    );
    report.add(aim(cost, 70.0).limited_by("see docs/performance.md"));
    if fleet.engine() == Engine::Postgres {
        let costs = each(&|timed| timed.database_cpu.as_secs_f64() * 1e6 / hosts as f64);
        let name = "PostgreSQL's CPU per host of a bulk operation";
        report.add(named(name, "µs", costs, Better::Lower).limited_by("rows, indexes, its log"));
    }
    let accepted = each(&|timed| milliseconds(timed.accepted_after));
    report.add(
        named("bulk operation accepted", "ms", accepted, Better::Lower)
            .limited_by("selection, frozen ids, audit and one durable commit"),
    );
    let latencies = each(&|timed| milliseconds(percentile(&timed.bystanders, 99.0)));
    report.add(
        named(
            "API p99 during a bulk operation",
            "ms",
            latencies,
            Better::Lower,
        )
        .target(100.0)
        .limited_by("two cores shared by server, agents and the asking"),
    );
}

/// Runs it on every host with the tag and checks that every one succeeded.
pub fn run(fleet: &TestFleet, tag: &str, hosts: u64) -> Timed {
    let body = json!({
        "operation_type": "run_script", "parameters": {"script": "echo hi"}, "selector": {"tags": [tag]},
    });
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let admin = &fleet.admin;
        let asked = ["/auth/me", "/hosts?limit=50", "/fleet/bulk?limit=5"]
            .map(|path| admin.request("GET", path));
        let stop = &stop;
        let sampling =
            scope.spawn(move || requests::sample(admin.address, &asked, BYSTANDER_PAUSE, stop));
        let server_before = fleet.server.process().cpu_time();
        let own_before = own_cpu_time();
        let database_before = database_cpu_time(fleet);
        let started = Instant::now();
        let id = text(&admin.post("/fleet/bulk", &body).expect(202), "id");
        let accepted_after = started.elapsed();
        let done = wait_done(admin, &id, started);
        let took = started.elapsed();
        let server_cpu = fleet
            .server
            .process()
            .cpu_time()
            .saturating_sub(server_before);
        let own_cpu = own_cpu_time().saturating_sub(own_before);
        let database_cpu = database_cpu_time(fleet).saturating_sub(database_before);
        stop.store(true, Ordering::Relaxed);
        assert_eq!(number(&done, "succeeded"), hosts, "{done}");
        Timed {
            took,
            accepted_after,
            server_cpu,
            own_cpu,
            database_cpu,
            bystanders: sampling.join().expect("sampling does not panic"),
        }
    })
}

fn wait_done(client: &Client, id: &str, started: Instant) -> Value {
    let request = client.request("GET", &format!("/fleet/bulk/{id}/progress"));
    let mut connection = Connection::open(client.address).expect("the server listens");
    loop {
        let progress = connection
            .exchange(&request)
            .expect("the server answers")
            .expect(200);
        if is_terminal(&progress) {
            return progress;
        }
        assert!(started.elapsed() < PATIENCE, "not done: {progress}");
        pause(LOOK_EVERY);
    }
}

fn database_cpu_time(fleet: &TestFleet) -> Duration {
    match fleet.engine() {
        Engine::Sqlite => Duration::ZERO,
        Engine::Postgres => postgres::cluster().cpu_time(),
    }
}

fn own_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanoseconds)
}
