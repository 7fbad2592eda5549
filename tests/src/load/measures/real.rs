//! A bulk operation over real agent processes that really start a shell each.

use std::time::Duration;

use super::{Size, bulk, say, server};
use crate::agent_process::{AgentProcess, AgentSettings};
use crate::fleet::TestFleet;
use crate::load::report::{Better, Measurement, Report};
use crate::load::statistics::{milliseconds, percentile, spread};
use crate::wait::wait_until;

/// A hundred processes that do a TLS handshake each.
const PATIENCE: Duration = Duration::from_secs(120);
const RUNS: usize = 7;

pub fn measure(report: &mut Report, size: Size) {
    let mut fleet = server();
    let count = size.of(100);
    say(&format!("starting {count} real agents"));
    start(&mut fleet, count);
    // The first one pays for pages and caches that stay.
    bulk::run(&fleet, "real", count);
    let mut rates = Vec::new();
    let mut latencies = Vec::new();
    let mut busy = String::new();
    for run in 0..size.runs(RUNS) {
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
    let memory: Vec<f64> = fleet
        .agents
        .iter()
        .map(|agent| agent.process().resident_kib() as f64 / 1_024.0)
        .collect();
    report.add(
        Measurement::new(
            "bulk operation on real agents",
            count,
            "hosts/s",
            spread(&rates),
            Better::Higher,
        )
        .target(800.0)
        .limited_by(format!(
            "{busy}; the rest is agents, their journals' flushes and shells"
        )),
    );
    report.add(
        Measurement::new(
            "API p99 during it",
            count,
            "ms",
            spread(&latencies),
            Better::Lower,
        )
        .target(100.0)
        .limited_by("two cores shared with a hundred agents"),
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

fn start(fleet: &mut TestFleet, count: u64) {
    let token = fleet.admin.enrollment_token(count, true, &["real"]);
    for number in 0..count {
        let fqdn = format!("real-{number}.test");
        let settings = AgentSettings {
            folder: fleet.path(&format!("agent-{number}")),
            fqdn,
            server_url: fleet.server.agent_url(),
            heartbeat_seconds: 10,
            extra: String::new(),
        };
        let mut agent = AgentProcess::enroll(settings, &token);
        agent.run();
        fleet.agents.push(agent);
    }
    wait_until("every real agent to be online", PATIENCE, || {
        fleet.admin.all("/hosts?status=online").len() as u64 == count
    });
}
