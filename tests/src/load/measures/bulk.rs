//! One bulk operation, timed from the POST to the last stored result.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::requests;
use crate::client::{Client, is_terminal, number, text};
use crate::fleet::TestFleet;
use crate::http::Connection;
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
    /// Other requests' latencies meanwhile.
    pub bystanders: Vec<Duration>,
}

impl Timed {
    pub fn hosts_per_second(&self, hosts: u64) -> f64 {
        hosts as f64 / self.took.as_secs_f64()
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
        stop.store(true, Ordering::Relaxed);
        assert_eq!(number(&done, "succeeded"), hosts, "{done}");
        Timed {
            took,
            accepted_after,
            server_cpu,
            own_cpu,
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

fn own_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanoseconds)
}
