//! A script that prints far more than is kept: what it costs in memory on both sides, and whether its size and digest
//! are right.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::server::server;
use super::size::Size;
use crate::client::{number, script, text};
use crate::fleet::TestFleet;
use crate::load::report::{Better, Measurement, Report, say};
use crate::load::statistics::spread;
use crate::process::{processes_of, resident_kib};
use crate::wait::{pause, wait_for};

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Scripts one after the other: memory that only grows would show.
const ROUNDS: usize = 5;
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

/// What one loud script has taken.
struct Round {
    peak: Resident,
    after: Resident,
    took: Duration,
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
    say(&format!("before: {}", told(before)));
    let rounds: Vec<Round> = (0..ROUNDS)
        .map(|_| {
            let (done, peak, took) = run_watched(&fleet, &host, mebibytes, look);
            check(&fleet.admin, &done, mebibytes);
            let after = look();
            say(&format!(
                "{mebibytes} MiB of output in {took:?}: at most {}; after it was read {}",
                told(peak),
                told(after)
            ));
            Round { peak, after, took }
        })
        .collect();
    tell(report, mebibytes, before, &rounds);
}

fn told(resident: Resident) -> String {
    let Resident { server, agent } = resident;
    format!("server {server} KiB, agent {agent} KiB")
}

/// Runs the script. Its command, the most memory meanwhile, and how long it took.
fn run_watched(
    fleet: &TestFleet,
    host: &str,
    mebibytes: u64,
    look: impl Fn() -> Resident + Sync,
) -> (serde_json::Value, Resident, Duration) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut peak = Resident::default();
            while !stop.load(Ordering::Relaxed) {
                peak = peak.max(look());
                pause(LOOK);
            }
            peak
        });
        let started = Instant::now();
        let loud = script(&format!("head -c {} /dev/zero", mebibytes * MIB));
        let id = fleet.admin.run_on_host(host, &loud);
        let done = wait_for("the output to end", PATIENCE, || {
            let view = fleet.admin.get(&format!("/commands/{id}")).expect(200);
            (view["finished_at"] != serde_json::Value::Null).then_some(view)
        });
        let took = started.elapsed();
        stop.store(true, Ordering::Relaxed);
        (done, watching.join().expect("the watcher ends well"), took)
    })
}

fn tell(report: &mut Report, mebibytes: u64, before: Resident, rounds: &[Round]) {
    let mut add = |measure, unit, better, limit, of: &dyn Fn(&Round) -> f64| {
        let numbers: Vec<f64> = rounds.iter().map(of).collect();
        let one = Measurement::new(measure, mebibytes, unit, spread(&numbers), better);
        report.add(one.limited_by(limit));
    };
    let gained = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1024.0;
    let Resident { server, agent } = before;
    let kept = "head and tail, and page caches that fill";
    add(
        "server memory gained by a loud script",
        "MiB",
        Better::Lower,
        kept,
        &|round| gained(server, round.peak.server),
    );
    let read = "page caches that fill, and what the allocator keeps";
    add(
        "server memory gained when it was read",
        "MiB",
        Better::Lower,
        read,
        &|round| gained(server, round.after.server),
    );
    let processes = "its supervisor, the script, head and tail";
    add(
        "agent memory gained by a loud script",
        "MiB",
        Better::Lower,
        processes,
        &|round| gained(agent, round.peak.agent),
    );
    let pipe = "SHA-256 of all of it, and one pipe";
    add("output taken", "MiB/s", Better::Higher, pipe, &|round| {
        mebibytes as f64 / round.took.as_secs_f64()
    });
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
