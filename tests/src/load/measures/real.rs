//! A bulk operation over real agent processes that really start a shell each.

use std::path::Path;
use std::time::Duration;

use super::bulk;
use super::server::server;
use super::size::Size;
use crate::agent_process::{AgentProcess, AgentSettings};
use crate::fleet::TestFleet;
use crate::load::report::{Better, Measurement, Report, say};
use crate::load::statistics::{milliseconds, percentile, spread};
use crate::process::{cpu_times, machine_cpu_time};
use crate::wait::wait_until;

/// A hundred processes that do a TLS handshake each.
const PATIENCE: Duration = Duration::from_secs(120);
const RUNS: usize = 7;
/// Where Linux keeps shared memory, as files.
const MEMORY: &str = "/dev/shm";

pub fn measure(report: &mut Report, size: Size) {
    let count = size.of(100);
    let on_disk = tempfile::tempdir().expect("the temporary folder can be written");
    let rates = one_place(report, size, count, on_disk.path());
    report.add(
        rates
            .named("bulk operation on real agents, one disk for all")
            .target(1_000.0),
    );
    // A hundred hosts have a hundred disks: memory shows what is left without waiting for one disk's journal.
    let Ok(in_memory) = tempfile::tempdir_in(MEMORY) else {
        say("there is no file system in memory; the second half is left out");
        return;
    };
    let rates = one_place(report, size, count, in_memory.path());
    report.add(
        rates
            .named("bulk operation on real agents, disks in memory")
            .target(1_000.0),
    );
}

/// With the agents' folders in `place`. Returns the hosts per second.
fn one_place(report: &mut Report, size: Size, count: u64, place: &Path) -> Measurement {
    let mut fleet = server();
    say(&format!(
        "starting {count} real agents in {}",
        place.display()
    ));
    start(&mut fleet, count, place);
    // The first one pays for pages and caches that stay.
    bulk::run(&fleet, "real", count);
    let mut rates = Vec::new();
    let mut latencies = Vec::new();
    let mut busy = String::new();
    let runs = size.runs(RUNS);
    let before = CpuSpent::so_far(&fleet);
    for run in 0..runs {
        let timed = bulk::run(&fleet, "real", count);
        say(&format!(
            "{count} real agents, run {run}: {:?}, {}",
            timed.took,
            timed.busy()
        ));
        rates.push(timed.hosts_per_second(count));
        latencies.push(milliseconds(percentile(&timed.bystanders, 99.0)));
        busy = timed.busy();
    }
    let spent = CpuSpent::so_far(&fleet).since(before);
    about_agents(report, count, &fleet, &latencies);
    about_cpu(report, count, &spent, count * runs as u64);
    Measurement::new("", count, "hosts/s", spread(&rates), Better::Higher).limited_by(format!(
        "{busy}; the rest is agents, their journals' flushes and shells"
    ))
}

/// CPU time by process. Clock ticks are coarse beside what one agent uses in a run, but a hundred agents' roundings
/// cancel out over all runs.
#[derive(Clone, Copy)]
struct CpuSpent {
    server: Duration,
    agents: Duration,
    /// Of everybody on this machine: nobody waits for supervisors and their shells, so they are what is left.
    all: Duration,
    own: Duration,
}

impl CpuSpent {
    fn so_far(fleet: &TestFleet) -> Self {
        let agents = fleet.agents.iter();
        Self {
            server: fleet.server.process().cpu_time(),
            agents: agents.map(|agent| agent.process().cpu_time()).sum(),
            all: machine_cpu_time(),
            own: cpu_times(std::process::id()).own,
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            server: self.server.saturating_sub(before.server),
            agents: self.agents.saturating_sub(before.agents),
            all: self.all.saturating_sub(before.all),
            own: self.own.saturating_sub(before.own),
        }
    }
}

/// `commands`: how many were run in all.
fn about_cpu(report: &mut Report, count: u64, spent: &CpuSpent, commands: u64) {
    let known = spent.server + spent.agents + spent.own;
    let processes = [
        ("the server", spent.server),
        ("its agent", spent.agents),
        ("the load generator", spent.own),
        (
            "all else, supervisor and shell",
            spent.all.saturating_sub(known),
        ),
    ];
    for (process, time) in processes {
        let cost = time.as_secs_f64() * 1e6 / commands as f64;
        let name = format!("CPU per host with a real agent: {process}");
        report.add(
            Measurement::new(&name, count, "µs", spread(&[cost]), Better::Lower)
                .limited_by("see docs/performance.md"),
        );
    }
}

fn about_agents(report: &mut Report, count: u64, fleet: &TestFleet, latencies: &[f64]) {
    let memory: Vec<f64> = fleet
        .agents
        .iter()
        .map(|agent| agent.process().resident_kib() as f64 / 1_024.0)
        .collect();
    report.add(
        Measurement::new(
            "API p99 beside a hundred agents at work",
            count,
            "ms",
            spread(latencies),
            Better::Lower,
        )
        .limited_by("two cores shared with all the agents and shells"),
    );
    report.add(
        Measurement::new(
            "memory of an idle agent",
            count,
            "MiB",
            spread(&memory),
            Better::Lower,
        )
        .target(20.0)
        .limited_by("resident pages, program text included"),
    );
}

fn start(fleet: &mut TestFleet, count: u64, place: &Path) {
    let token = fleet.admin.enrollment_token(count, true, &["real"]);
    for number in 0..count {
        let fqdn = format!("real-{number}.test");
        let settings = AgentSettings {
            folder: place.join(format!("agent-{number}")),
            fqdn,
            server_url: fleet.server.agent_url(),
            heartbeat_seconds: 10,
            extra: String::new(),
            within: Vec::new(),
            program: None,
        };
        let mut agent = AgentProcess::enroll(settings, &token);
        agent.run();
        fleet.agents.push(agent);
    }
    wait_until("every real agent to be online", PATIENCE, || {
        fleet.admin.all("/hosts?status=online").len() as u64 == count
    });
}
