//! A module's route against a native one that does the same: parses an id and refuses it (nothing else), and one
//! indexed read. Windows of both alternate in one run, so that the machine's moods hit both.

use std::time::{Duration, Instant};

use serde_json::json;

use super::requests::timed;
use super::server::server;
use super::size::Size;
use crate::client::{Client, text};
use crate::fleet::TestFleet;
use crate::http::{Connection, Request};
use crate::load::report::{Better, Measurement, Report, say};
use crate::load::statistics::{percentile, spread};

const CONNECTIONS: usize = 8;
const WINDOW: Duration = Duration::from_millis(700);
const WINDOWS: usize = 8;

struct Pair {
    name: &'static str,
    native: Request,
    module: Request,
    status: u16,
    ratio_target: f64,
}

pub fn measure(report: &mut Report, size: Size) {
    let fleet = server();
    for pair in pairs(&fleet) {
        compare(report, size, &fleet.admin, &pair);
    }
}

fn pairs(fleet: &TestFleet) -> Vec<Pair> {
    let admin = &fleet.admin;
    let body = json!({"name": "one", "selector": {"expression": "platform = linux"}});
    let group = text(&admin.post("/fleet/groups", &body).expect(201), "id");
    let body =
        json!({"name": "reader", "password": "correct horse battery staple", "role": "viewer"});
    let user = text(&admin.post("/users", &body).expect(201), "id");
    vec![
        Pair {
            name: "module route without work",
            native: admin.request("GET", "/hosts/not-an-id"),
            module: admin.request("GET", "/fleet/groups/not-an-id"),
            status: 400,
            ratio_target: 0.65,
        },
        Pair {
            name: "module route with one indexed read",
            native: admin.request("GET", &format!("/users/{user}")),
            module: admin.request("GET", &format!("/fleet/groups/{group}")),
            status: 200,
            ratio_target: 0.8,
        },
    ]
}

fn compare(report: &mut Report, size: Size, client: &Client, pair: &Pair) {
    let mut ratios = Vec::new();
    let mut differences = Vec::new();
    for window in 0..=size.runs(WINDOWS) {
        let native = flood(client, &pair.native, pair.status);
        let module = flood(client, &pair.module, pair.status);
        // The first of both warms up.
        if window == 0 {
            continue;
        }
        ratios.push(module.len() as f64 / native.len() as f64);
        let p99 = |took: &[Duration]| percentile(took, 99.0).as_secs_f64() * 1e6;
        differences.push(p99(&module) - p99(&native));
        say(&format!(
            "{}: native {} and module {} answers in {WINDOW:?}",
            pair.name,
            native.len(),
            module.len()
        ));
    }
    report.add(
        Measurement::new(pair.name, 1, "× native", spread(&ratios), Better::Higher)
            .target(pair.ratio_target)
            .limited_by("the hop to the modules' runtime and back"),
    );
    report.add(
        Measurement::new(
            &format!("{}, added p99", pair.name),
            1,
            "µs",
            spread(&differences),
            Better::Lower,
        )
        .target(150.0)
        .limited_by("scheduling with 8 askers on two cores"),
    );
}

/// As many as possible in one window, on all connections.
fn flood(client: &Client, request: &Request, status: u16) -> Vec<Duration> {
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection =
                        Connection::open(client.address).expect("the server listens");
                    let started = Instant::now();
                    let mut took = Vec::new();
                    while started.elapsed() < WINDOW {
                        took.push(timed(&mut connection, request, status));
                    }
                    took
                })
            })
            .collect();
        asking
            .into_iter()
            .flat_map(|thread| thread.join().expect("asking does not panic"))
            .collect()
    })
}
