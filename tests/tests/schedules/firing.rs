//! What fires, how often, and on which hosts.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fleetwright_tests::client::{number, text};
use fleetwright_tests::fleet::Setup;
use fleetwright_tests::load::crowd::Crowd;
use fleetwright_tests::wait::{PATIENCE, wait_for};
use serde_json::{Value, json};

use super::{create, hourly, only_run, restart_after_hours, runs, turn_back};

const HEARTBEAT: Duration = Duration::from_secs(5);
/// Due in one second, as in the table of what a server must do.
const AT_ONCE: usize = 1_000;

#[test]
fn a_host_tagged_after_the_schedule_was_made_is_in_its_next_run() {
    let mut fleet = Setup::pro().start();
    let id = create(&fleet.admin, &hourly("late", "late", json!({})));
    let token = fleet.admin.enrollment_token(2, true, &["early"]);
    let crowd = Crowd::new(fleet.server.agent_listen, HEARTBEAT);
    let identities = crowd.enroll(&token, "early", 2);
    restart_after_hours(&mut fleet, 1);
    assert_eq!(
        only_run(&fleet, &id, &["pending"])["status"],
        "selection_empty"
    );
    let tagged = identities[0].host_id;
    let path = format!("/hosts/{tagged}");
    fleet
        .admin
        .patch(&path, &json!({"tags": ["late"]}))
        .expect(200);
    let asked = fleet
        .admin
        .post(&format!("/fleet/schedules/{id}/run"), &json!({}));
    let run = text(&asked.expect(202), "id");
    let operation = wait_for("the operation", PATIENCE, || {
        let answer = fleet.admin.get(&format!("/fleet/bulk/{run}"));
        (answer.status == 200).then(|| answer.json())
    });
    assert_eq!(number(&operation, "total"), 1);
    let hosts = fleet.admin.bulk_hosts(&run);
    assert_eq!(hosts[0]["host_id"], json!(tagged));
}

#[test]
fn a_server_that_was_down_over_three_fires_makes_up_for_them_with_one_run() {
    let mut fleet = Setup::pro().start();
    let id = create(
        &fleet.admin,
        &hourly("missed", "web", json!({"selector": {"all_hosts": true}})),
    );
    let skips = hourly(
        "skips",
        "web",
        json!({"selector": {"all_hosts": true}, "misfire_policy": "skip"}),
    );
    let skips = create(&fleet.admin, &skips);
    let before = fleet
        .admin
        .get(&format!("/fleet/schedules/{id}"))
        .expect(200);
    fleet.add_agent("one.test", &["web"]);
    restart_after_hours(&mut fleet, 3);
    let run = only_run(&fleet, &id, &["pending", "queued", "running"]);
    assert_eq!(run["status"], "succeeded", "{run}");
    let skipped = only_run(&fleet, &skips, &["pending"]);
    assert_eq!(skipped["status"], "skipped_misfire", "{skipped}");
    let after = fleet
        .admin
        .get(&format!("/fleet/schedules/{id}"))
        .expect(200);
    assert_eq!(after["last_status"], "succeeded");
    assert!(text(&after, "next_run_at") >= text(&before, "next_run_at"));
    let operations = fleet.admin.all("/fleet/bulk");
    assert_eq!(
        operations
            .iter()
            .filter(|operation| operation["id"] == run["id"])
            .count(),
        1
    );
    assert_eq!(runs(&fleet, &id).len(), 1);
}

#[test]
fn a_server_killed_around_its_launches_launches_each_run_once() {
    const SCHEDULES: usize = 30;
    let mut fleet = Setup::pro().start();
    let token = fleet.admin.enrollment_token(1, true, &["web"]);
    Crowd::new(fleet.server.agent_listen, HEARTBEAT).enroll(&token, "web", 1);
    let ids: Vec<String> = (0..SCHEDULES)
        .map(|number| {
            let more = json!({"overlap_policy": "allow"});
            create(&fleet.admin, &hourly(&format!("s{number}"), "web", more))
        })
        .collect();
    fleet.server.kill();
    turn_back(&fleet, 1);
    // From before the first launch to after the last.
    for milliseconds in [5, 20, 40, 80, 160, 320] {
        fleet.server.launch();
        fleet.server.wait_ready();
        let killed_at = Instant::now() + Duration::from_millis(milliseconds);
        wait_for("the moment", PATIENCE, || {
            (Instant::now() >= killed_at).then_some(())
        });
        fleet.server.kill();
    }
    fleet.server.launch();
    fleet.server.wait_ready();
    let launched: BTreeSet<String> = ids
        .iter()
        .map(|id| text(&only_run(&fleet, id, &["pending"]), "id"))
        .collect();
    let created: BTreeSet<String> = fleet
        .admin
        .all("/fleet/bulk")
        .iter()
        .map(|operation| text(operation, "id"))
        .collect();
    assert_eq!(launched, created);
    assert_eq!(created.len(), SCHEDULES);
}

#[test]
fn a_thousand_schedules_of_one_second_all_launch() {
    let mut fleet = Setup::pro().start();
    let token = fleet.admin.enrollment_token(1, true, &["web"]);
    Crowd::new(fleet.server.agent_listen, HEARTBEAT).enroll(&token, "web", 1);
    for number in 0..AT_ONCE {
        create(
            &fleet.admin,
            &hourly(&format!("s{number}"), "web", json!({})),
        );
    }
    restart_after_hours(&mut fleet, 1);
    let started = Instant::now();
    let schedules = wait_for("all launches", PATIENCE * 5, || {
        let schedules = fleet.admin.all("/fleet/schedules");
        let is_launched = |schedule: &Value| schedule["last_status"] == "queued";
        schedules.iter().all(is_launched).then_some(schedules)
    });
    let took = started.elapsed();
    assert_eq!(schedules.len(), AT_ONCE);
    assert_eq!(fleet.admin.all("/fleet/bulk").len(), AT_ONCE);
    let rate = AT_ONCE as f64 / took.as_secs_f64();
    println!("{AT_ONCE} launches in {took:?} ({rate:.0}/s) after the server was ready");
}
