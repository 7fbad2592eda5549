//! Modules and a licence that arrive in, and leave, a running community server.

use fleetwright_tests::client::{script, text};
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::http::Answer;
use fleetwright_tests::load::agent::Behaviour;
use fleetwright_tests::wait::{PATIENCE, wait_for, wait_until};
use serde_json::json;

use super::{bulk_on, counters, enrolled};

fn try_bulk(fleet: &TestFleet) -> Answer {
    fleet.admin.post("/fleet/bulk", &bulk_on("web", json!({})))
}

fn wait_reason(fleet: &TestFleet, reason: &str) {
    wait_until(&format!("402 {reason}"), PATIENCE, || {
        let answer = try_bulk(fleet);
        answer.status == 402 && answer.json()["reason"] == reason
    });
}

#[test]
fn dropped_modules_and_a_licence_turn_402_into_202_while_a_command_runs() {
    let mut fleet = Setup::community().start();
    let host = fleet.add_agent("one.test", &["web"]);
    let pid = fleet.server.process().pid();
    let go = fleet.path("go");
    let waiting = script(&format!(
        "while [ ! -e {} ]; do sleep 0.02; done",
        go.display()
    ));
    let in_flight = fleet.admin.run_on_host(&host, &waiting);
    wait_until("the command to run", PATIENCE, || {
        fleet
            .admin
            .get(&format!("/commands/{in_flight}"))
            .expect(200)["status"]
            == "running"
    });
    wait_reason(&fleet, "module_not_installed");
    fleet.install_module("groups");
    fleet.install_module("bulk");
    wait_reason(&fleet, "not_licensed");
    fleet.install_license(&["--all-features", "--days", "30"]);
    let accepted = wait_for("a 202", PATIENCE, || {
        let answer = try_bulk(&fleet);
        (answer.status == 202).then(|| answer.json())
    });
    assert_eq!(
        fleet.server.process().pid(),
        pid,
        "the server was restarted"
    );
    let view = fleet
        .admin
        .get(&format!("/commands/{in_flight}"))
        .expect(200);
    assert_eq!(
        view["status"], "running",
        "the command in flight was disturbed"
    );
    std::fs::write(&go, "").unwrap();
    assert_eq!(fleet.admin.wait_command(&in_flight)["status"], "succeeded");
    let done = fleet.admin.wait_bulk(&text(&accepted, "id"));
    assert_eq!(
        (&done["status"], counters(&done)),
        (&json!("succeeded"), [1, 0, 0, 0, 0])
    );
    let modules = fleet.admin.get("/modules").expect(200).to_string();
    assert!(
        modules.contains("groups") && modules.contains("bulk"),
        "{modules}"
    );
}

#[test]
fn an_unsigned_module_is_refused_and_the_server_lives() {
    let fleet = Setup::community().start();
    fleet.install_license(&["--all-features", "--days", "30"]);
    let modules_dir = fleet.server.settings.modules_dir();
    fleet.install_module("groups");
    fleet.install_module("bulk");
    wait_until("the modules to work", PATIENCE, || {
        fleet.admin.get("/fleet/bulk").status == 200
    });
    // Another server, with the same files but for one flipped byte of a signature.
    let second = Setup::community().start();
    let target = second.server.settings.modules_dir();
    let mut signature = std::fs::read(modules_dir.join("bulk.so.sig")).unwrap();
    let middle = signature.len() / 2;
    signature[middle] ^= 1;
    std::fs::write(target.join("bulk.so.sig"), signature).unwrap();
    // The folder is watched: the file arrives whole.
    let arriving = target.join("bulk.so.arriving");
    std::fs::copy(modules_dir.join("bulk.so"), &arriving).unwrap();
    std::fs::rename(arriving, target.join("bulk.so")).unwrap();
    let bulk = wait_for("the module to be listed as failed", PATIENCE, || {
        let listed = second.admin.get("/modules").expect(200);
        let mut modules = listed["items"].as_array()?.iter();
        modules.find(|module| module["state"] == "failed").cloned()
    });
    assert!(
        text(&bulk, "reason").contains("does not match the file"),
        "{bulk}"
    );
    let answer = try_bulk(&second);
    assert_eq!(answer.status, 402, "{}", answer.text());
    assert!(second.server.is_ready());
}

#[test]
fn a_licence_that_lapses_strands_nothing_in_flight() {
    let fleet = Setup::pro().start();
    let (mut crowd, identities) = enrolled(&fleet, "web", 4);
    crowd.connect(&identities, Behaviour::Hold);
    let id = fleet
        .admin
        .bulk(&bulk_on("web", json!({"max_concurrency": 2})));
    wait_until("two running", PATIENCE, || {
        let progress = fleet
            .admin
            .get(&format!("/fleet/bulk/{id}/progress"))
            .expect(200);
        progress["running"] == 2
    });
    fleet.install_license(&["--all-features", "--days", "0", "--grace-days", "0"]);
    wait_reason(&fleet, "license_expired");
    // Reads and control keep working; only new work is refused.
    assert_eq!(fleet.admin.get(&format!("/fleet/bulk/{id}")).status, 200);
    for verb in ["pause", "resume"] {
        let answer = fleet
            .admin
            .post(&format!("/fleet/bulk/{id}/{verb}"), &json!({}));
        assert_eq!(answer.status, 200, "{verb}: {}", answer.text());
    }
    let retry = fleet
        .admin
        .post(&format!("/fleet/bulk/{id}/retry"), &json!({}));
    assert_eq!(retry.status, 402, "{}", retry.text());
    crowd.release();
    assert_eq!(counters(&fleet.admin.wait_bulk(&id)), [4, 0, 0, 0, 0]);
    // A new licence brings it back without a restart.
    fleet.install_license(&["--all-features", "--days", "30"]);
    wait_until("a 202 again", PATIENCE, || try_bulk(&fleet).status == 202);
}

#[test]
fn a_licence_without_the_feature_is_402_for_all_of_it() {
    let fleet = Setup::community().start();
    fleet.install_module("groups");
    fleet.install_module("bulk");
    fleet.install_license(&["--feature", "fleet_groups", "--days", "30"]);
    wait_until("groups to work", PATIENCE, || {
        fleet.admin.get("/fleet/groups").status == 200
    });
    wait_reason(&fleet, "not_licensed");
    assert_eq!(
        fleet.admin.get("/fleet/bulk").status,
        402,
        "reads too: it was never licensed"
    );
}

#[test]
fn an_operation_goes_on_after_a_restart_that_finds_its_modules_again() {
    let mut fleet = Setup::pro().start();
    let host = fleet.add_agent("one.test", &["web"]);
    let id = fleet.admin.bulk(&bulk_on("web", json!({})));
    fleet.server.restart();
    let done = fleet.admin.wait_bulk(&id);
    assert_eq!(counters(&done), [1, 0, 0, 0, 0]);
    let output = fleet
        .admin
        .get(&format!("/fleet/bulk/{id}/hosts/{host}/output"))
        .expect(200);
    assert_eq!(output["stdout"]["head"], "aGkK");
}
