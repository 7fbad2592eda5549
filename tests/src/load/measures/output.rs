//! A script that prints far more than is kept: what it costs in memory on both sides, and whether its size and digest
//! are right.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::{Size, say, server};
use crate::client::{number, script, text};
use crate::load::report::{Better, Measurement, Report};
use crate::load::statistics::spread;
use crate::process::{processes_of, resident_kib};
use crate::wait::{pause, wait_for};

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(300);
const MIB: u64 = 1024 * 1024;

/// Resident memory in KiB: of the server, and of all of the agent's processes together.
#[derive(Clone, Copy, Default)]
struct Resident {
    server: u64,
    agent: u64,
}

impl Resident {
    fn max(self, other: Self) -> Self {
        Self {
            server: self.server.max(other.server),
            agent: self.agent.max(other.agent),
        }
    }
}

pub fn measure(report: &mut Report, size: Size) {
    let mebibytes = size.of(1_024);
    let mut fleet = server();
    let host = fleet.add_agent("loud.test", &[]);
    let folder = fleet.agent("loud.test").settings.folder.clone();
    let fleet = fleet;
    let look = || Resident {
        server: fleet.server.process().resident_kib(),
        // Itself, what it forks from, and supervisors.
        agent: processes_of(&folder).into_iter().map(resident_kib).sum(),
    };
    // The first run pays for pages that stay.
    fleet.run_script(&host, "true");
    let before = look();
    let stop = AtomicBool::new(false);
    let (done, took, peak) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut peak = Resident::default();
            while !stop.load(Ordering::Relaxed) {
                peak = peak.max(look());
                pause(LOOK);
            }
            peak
        });
        let started = Instant::now();
        let id = fleet.admin.run_on_host(
            &host,
            &script(&format!("head -c {} /dev/zero", mebibytes * MIB)),
        );
        let done = wait_for("the output to end", PATIENCE, || {
            let view = fleet.admin.get(&format!("/commands/{id}")).expect(200);
            (view["finished_at"] != serde_json::Value::Null).then_some(view)
        });
        let took = started.elapsed();
        stop.store(true, Ordering::Relaxed);
        (done, took, watching.join().expect("the watcher ends well"))
    });
    check(&fleet.admin, &done, mebibytes);
    let after = look();
    let told = |of: fn(Resident) -> u64| {
        let [before, peak, after] = [before, peak, after].map(of);
        format!("{before} KiB, {peak} KiB at most, {after} KiB after")
    };
    let (at_server, at_agent) = (told(|at| at.server), told(|at| at.agent));
    say(&format!(
        "{mebibytes} MiB of output in {took:?}; server {at_server}; agent {at_agent}"
    ));
    let rate = mebibytes as f64 / took.as_secs_f64();
    tell(report, mebibytes, before, peak, rate);
}

fn tell(report: &mut Report, mebibytes: u64, before: Resident, peak: Resident, rate: f64) {
    let mut add = |measure, from: u64, to: u64, limit| {
        let gained = spread(&[to.saturating_sub(from) as f64 / 1024.0]);
        let one = Measurement::new(measure, mebibytes, "MiB", gained, Better::Lower);
        report.add(one.limited_by(limit));
    };
    add(
        "server memory gained by a loud script",
        before.server,
        peak.server,
        "the head and the tail that are kept",
    );
    add(
        "agent memory gained by a loud script",
        before.agent,
        peak.agent,
        "its supervisor, the script, head and tail",
    );
    let rate = Measurement::new(
        "output taken",
        mebibytes,
        "MiB/s",
        spread(&[rate]),
        Better::Higher,
    );
    report.add(rate.limited_by("SHA-256 of all of it, and one pipe"));
}

/// Panics unless all of it was counted and digested.
fn check(admin: &crate::client::Client, done: &serde_json::Value, mebibytes: u64) {
    assert_eq!(done["status"], "succeeded", "{done}");
    let path = format!("/commands/{}/output", text(done, "id"));
    let output = admin.get(&path).expect(200);
    assert_eq!(number(&output["stdout"], "total_bytes"), mebibytes * MIB);
    let mut digest = Sha256::new();
    let zeros = vec![0_u8; usize::try_from(MIB).unwrap_or_default()];
    for _ in 0..mebibytes {
        digest.update(&zeros);
    }
    assert_eq!(
        text(&output["stdout"], "sha256"),
        hex::encode(digest.finalize())
    );
}
