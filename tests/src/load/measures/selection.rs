//! Selectors and groups over a large inventory, and the progress of an operation over all of it.

use serde_json::json;

use super::requests::repeat;
use super::server::server;
use super::size::Size;
use crate::client::{number, text};
use crate::fleet::TestFleet;
use crate::load::inventory;
use crate::load::report::{Better, Measurement, Report, say};
use crate::load::statistics::{milliseconds, percentile, spread};
use crate::wait::{PATIENCE, wait_until};

const REQUESTS: usize = 300;
/// Before measuring: the index is built on first use.
const WARM_UP: usize = 20;
const GROUPS: u64 = 1_000;
const GROUP_DEPTH: u64 = 8;

/// Name, expression, target for the 99th percentile in ms, share of hosts it selects (in hundredths).
const SELECTORS: [(&str, &str, f64, u64); 4] = [
    ("selector: tag", "tags contains web", 20.0, 10),
    (
        "selector: typical criteria",
        "platform = linux and tags in (web, db) and platform_release = debian",
        20.0,
        0,
    ),
    (
        "selector: version and number",
        "platform_version version_gte 10 and cpu_count gt 16",
        20.0,
        0,
    ),
    (
        "selector: regex over every host",
        "fqdn matches \"h[0-9]*7\\\\.fleet\"",
        150.0,
        0,
    ),
];

pub fn measure(report: &mut Report, size: Size) {
    for hosts in [1_000, 10_000, 100_000].map(|full| size.of(full)) {
        let fleet = seeded(hosts);
        selectors(report, &fleet, hosts);
        if hosts == size.of(100_000) {
            groups(report, size, &fleet, hosts);
            progress(report, &fleet, hosts);
        }
    }
}

fn seeded(hosts: u64) -> TestFleet {
    let mut fleet = server();
    assert!(fleet.server.stop().success());
    say(&format!("writing {hosts} hosts"));
    let url = database_url(&fleet);
    inventory::with_database(
        &url,
        |db| async move { inventory::add_hosts(&db, hosts).await },
    );
    fleet.server.launch();
    fleet.server.wait_ready();
    fleet
}

pub fn database_url(fleet: &TestFleet) -> String {
    let data = fleet.server.settings.data_dir();
    format!("sqlite://{}", data.join("fleetwright.db").display())
}

fn selectors(report: &mut Report, fleet: &TestFleet, hosts: u64) {
    for (name, expression, target, share) in SELECTORS {
        let body = json!({"expression": expression});
        let path = "/fleet/select?count_only=true";
        let found = fleet.admin.post(path, &body).expect(200);
        let count = number(&found, "count");
        assert!(
            count > 0 && count < hosts,
            "{expression} selects {count} of {hosts}"
        );
        assert!(
            share == 0 || count == hosts * share / 100,
            "{expression} selects {count}"
        );
        let request = fleet.admin.request("POST", path).json(&body);
        repeat(&fleet.admin, &request, WARM_UP, 200);
        let took = repeat(&fleet.admin, &request, REQUESTS, 200);
        let p99 = milliseconds(percentile(&took, 99.0));
        say(&format!(
            "{name} over {hosts}: {count} selected, p99 {p99:.2} ms"
        ));
        report.add(
            latency(name, hosts, &took)
                .target(target)
                .limited_by("p99 of 300 requests, one after another"),
        );
    }
}

fn latency(name: &str, size: u64, took: &[std::time::Duration]) -> Measurement {
    let at = |percent| milliseconds(percentile(took, percent));
    let mut measured = Measurement::new(name, size, "ms p99", spread(&[at(99.0)]), Better::Lower);
    // The spread of one percentile of one run says nothing; the whole run's median and end do.
    (measured.minimum, measured.maximum, measured.runs) = (at(50.0), at(100.0), took.len());
    measured
}

/// Chains of groups below one top group, each with a selector of its own.
fn groups(report: &mut Report, size: Size, fleet: &TestFleet, hosts: u64) {
    let count = size.of(GROUPS);
    let top = create_group(fleet, "top", None, "tags contains db");
    let mut parents = vec![top.clone()];
    for number in 1..count {
        let depth = 1 + number % (GROUP_DEPTH - 1);
        if depth == 1 {
            parents = vec![top.clone()];
        }
        let selector = format!(
            "cpu_count = {} and platform_version version_gte {}",
            2 + number % 30,
            8 + number % 5
        );
        let parent = parents.last().map(String::as_str);
        let id = create_group(fleet, &format!("group {number}"), parent, &selector);
        parents.push(id);
    }
    let request = fleet
        .admin
        .request("GET", &format!("/fleet/groups/{top}/hosts?limit=50"));
    repeat(&fleet.admin, &request, WARM_UP, 200);
    let took = repeat(&fleet.admin, &request, REQUESTS, 200);
    report.add(
        latency("group membership, 1,000 groups, depth 8", hosts, &took)
            .target(50.0)
            .limited_by("every selector below the group is evaluated"),
    );
}

fn create_group(fleet: &TestFleet, name: &str, parent: Option<&str>, expression: &str) -> String {
    let body = json!({"name": name, "parent_id": parent, "selector": {"expression": expression}});
    text(&fleet.admin.post("/fleet/groups", &body).expect(201), "id")
}

fn progress(report: &mut Report, fleet: &TestFleet, hosts: u64) {
    let body = json!({
        "operation_type": "run_script", "parameters": {"script": "true"}, "selector": {"all_hosts": true},
    });
    let request = fleet.admin.request("POST", "/fleet/bulk").json(&body);
    let accepted = repeat(&fleet.admin, &request, 1, 202);
    report.add(
        Measurement::new(
            "bulk over all hosts accepted",
            hosts,
            "ms",
            spread(&[milliseconds(accepted[0])]),
            Better::Lower,
        )
        .limited_by("one durable commit with all frozen ids"),
    );
    let id = text(&fleet.admin.all("/fleet/bulk")[0], "id");
    let path = format!("/fleet/bulk/{id}/progress");
    wait_until("the operation to be there", PATIENCE, || {
        number(&fleet.admin.get(&path).expect(200), "queued") == hosts
    });
    let request = fleet.admin.request("GET", &path);
    repeat(&fleet.admin, &request, WARM_UP, 200);
    // While the rows are still being written behind it.
    let took = repeat(&fleet.admin, &request, REQUESTS, 200);
    report.add(
        latency("progress of a large bulk operation", hosts, &took)
            .target(5.0)
            .limited_by("counters are one row; the rest is the way through the module"),
    );
}
