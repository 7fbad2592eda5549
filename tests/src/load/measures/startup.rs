//! From the start of the process to ready, with a large inventory and a long history.

use std::time::Instant;

use super::selection::database_url;
use super::server::server;
use super::size::Size;
use crate::load::inventory;
use crate::load::report::{Better, Measurement, Report, say};
use crate::load::statistics::spread;

const SETS: u64 = 10;

pub fn measure(report: &mut Report, size: Size) {
    let hosts = size.of(100_000);
    let mut fleet = server();
    assert!(fleet.server.stop().success());
    say(&format!(
        "writing {hosts} hosts and {} commands",
        SETS * hosts
    ));
    let url = database_url(&fleet);
    inventory::with_database(&url, |db| async move {
        inventory::add_hosts(&db, hosts).await?;
        inventory::add_history(&db, SETS, hosts).await
    });
    let mut seconds = Vec::new();
    let mut memory = Vec::new();
    for run in 0..size.runs(5) {
        let started = Instant::now();
        fleet.server.launch();
        fleet.server.wait_ready();
        seconds.push(started.elapsed().as_secs_f64());
        memory.push(fleet.server.process().resident_kib() as f64 / 1_024.0);
        say(&format!(
            "start {run}: {:.2} s",
            seconds.last().copied().unwrap_or_default()
        ));
        // Half of them after a crash: the log is then replayed.
        if run % 2 == 0 {
            fleet.server.kill();
        } else {
            assert!(fleet.server.stop().success());
        }
    }
    report.add(
        Measurement::new(
            "start to ready, 1 M commands",
            hosts,
            "s",
            spread(&seconds),
            Better::Lower,
        )
        .target(2.0)
        .limited_by("reading the hosts into memory; loading two modules"),
    );
    report.add(
        Measurement::new(
            "memory after the start",
            hosts,
            "MiB",
            spread(&memory),
            Better::Lower,
        )
        .limited_by("the registry and the modules' index of every host"),
    );
}
