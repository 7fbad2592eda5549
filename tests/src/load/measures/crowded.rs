//! Thousands of connected agents: what they cost idle, how fast their heartbeats are taken, how fast a bulk operation
//! runs over them, and how the API feels meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bulk;
use super::server::server;
use super::size::Size;
use crate::fleet::TestFleet;
use crate::load::agent::Behaviour;
use crate::load::crowd::Crowd;
use crate::load::identity::Identity;
use crate::load::report::{Better, Measurement, Report, say};
use crate::load::statistics::spread;

/// As real agents do by default.
const HEARTBEAT: Duration = Duration::from_secs(10);
const HEARTBEATS_EACH: u32 = 20;
const BULK_RUNS: usize = 5;

pub fn measure(report: &mut Report, size: Size) {
    let sizes = [100, 1_000, 10_000].map(|full| size.of(full));
    for (index, hosts) in sizes.into_iter().enumerate() {
        let is_largest = index == sizes.len() - 1;
        one_size(report, size, hosts, is_largest);
    }
}

fn one_size(report: &mut Report, size: Size, hosts: u64, is_largest: bool) {
    let mut fleet = server();
    let mut crowd = Crowd::new(fleet.server.agent_listen, HEARTBEAT);
    say(&format!("enrolling {hosts} simulated agents"));
    let identities = enroll(report, &fleet, &crowd, hosts);
    let before_kib = fleet.server.process().resident_kib();
    let started = Instant::now();
    crowd.connect(&identities, Behaviour::Succeed(Duration::ZERO));
    let connected_after = started.elapsed();
    say(&format!("{hosts} agents connected in {connected_after:?}"));
    if is_largest {
        let after_kib = fleet.server.process().resident_kib();
        let each = after_kib.saturating_sub(before_kib) as f64 / hosts as f64;
        report.add(
            Measurement::new(
                "memory per idle agent",
                hosts,
                "KiB",
                spread(&[each]),
                Better::Lower,
            )
            .target(40.0)
            .limited_by("TLS and WebSocket buffers of a connection; a bare server needs 26"),
        );
        let rate = hosts as f64 / connected_after.as_secs_f64();
        report.add(
            Measurement::new(
                "agents connecting",
                hosts,
                "agents/s",
                spread(&[rate]),
                Better::Higher,
            )
            .limited_by("handshakes with client certificates, on both sides"),
        );
        heartbeats(report, size, &fleet, &crowd, hosts);
    }
    let runs = size.runs(BULK_RUNS);
    bulk::report_runs(report, &fleet, "", "crowd", hosts, runs);
    if is_largest {
        storm(report, &mut fleet, &crowd, hosts);
    }
}

/// The server is killed and started: everybody comes back at once.
fn storm(report: &mut Report, fleet: &mut TestFleet, crowd: &Crowd, hosts: u64) {
    let back = crowd.reconnect_after(|| fleet.server.restart());
    report.add(
        Measurement::new(
            "all agents back after a killed server",
            hosts,
            "s",
            spread(&[back.as_secs_f64()]),
            Better::Lower,
        )
        .target(120.0)
        .limited_by("the agents' back-off, then handshakes"),
    );
}

fn enroll(report: &mut Report, fleet: &TestFleet, crowd: &Crowd, hosts: u64) -> Vec<Arc<Identity>> {
    let token = fleet.admin.enrollment_token(hosts, true, &["crowd"]);
    let started = Instant::now();
    let identities = crowd.enroll(&token, "crowd", usize::try_from(hosts).unwrap_or_default());
    let rate = hosts as f64 / started.elapsed().as_secs_f64();
    report.add(
        Measurement::new(
            "enrollments",
            hosts,
            "hosts/s",
            spread(&[rate]),
            Better::Higher,
        )
        .limited_by("8 connections in turn, each a durable write"),
    );
    identities
}

fn heartbeats(report: &mut Report, size: Size, fleet: &TestFleet, crowd: &Crowd, hosts: u64) {
    let mut rates = Vec::new();
    let mut costs = Vec::new();
    for _ in 0..size.runs(5) {
        let cpu_before = fleet.server.process().cpu_time();
        let took = crowd.flood(HEARTBEATS_EACH);
        let cpu = fleet.server.process().cpu_time().saturating_sub(cpu_before);
        let count = hosts as f64 * f64::from(HEARTBEATS_EACH);
        rates.push(count / took.as_secs_f64());
        costs.push(cpu.as_secs_f64() * 1e6 / count);
    }
    report.add(
        Measurement::new(
            "heartbeats",
            hosts,
            "heartbeats/s",
            spread(&rates),
            Better::Higher,
        )
        .target(100_000.0)
        .limited_by("the load generator encrypts one record for each, on the same two cores"),
    );
    report.add(
        Measurement::new(
            "server CPU per heartbeat",
            hosts,
            "µs",
            spread(&costs),
            Better::Lower,
        )
        .limited_by("one TLS record and one small JSON document each"),
    );
}
