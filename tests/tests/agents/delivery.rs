//! Commands across crashes: of the agent, of the server, of the connection.

use std::path::Path;

use fleetwright_tests::client::{number, script, text};
use fleetwright_tests::databases::Engine;
use fleetwright_tests::fleet::Setup;
use fleetwright_tests::wait::{PATIENCE, wait_until};
use serde_json::json;

use super::fleet_of_one;

pub fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Says that it runs, waits until the second file exists, says that it ends.
pub fn slow_script(log: &Path, go: &Path) -> serde_json::Value {
    script(&format!(
        "echo run >> {0}; while [ ! -e {1} ]; do sleep 0.02; done; echo end >> {0}; exit 3",
        log.display(),
        go.display()
    ))
}

#[test]
fn a_command_for_an_offline_host_waits_and_runs_when_it_connects() {
    let (mut fleet, host) = fleet_of_one();
    fleet.agent("one.test").stop();
    wait_until("the host to be offline", PATIENCE, || {
        fleet.admin.get(&format!("/hosts/{host}")).expect(200)["status"] == "offline"
    });
    let id = fleet.admin.run_on_host(&host, &script("exit 0"));
    assert_eq!(
        fleet.admin.get(&format!("/commands/{id}")).expect(200)["status"],
        "queued"
    );
    fleet.agent("one.test").run();
    assert_eq!(fleet.admin.wait_command(&id)["status"], "succeeded");
}

#[test]
fn a_killed_agent_takes_its_child_back_and_reports_one_outcome() {
    let (mut fleet, host) = fleet_of_one();
    let (log, go) = (fleet.path("log"), fleet.path("go"));
    let id = fleet.admin.run_on_host(&host, &slow_script(&log, &go));
    wait_until("the script to run", PATIENCE, || !lines(&log).is_empty());
    fleet.agent("one.test").kill();
    fleet.agent("one.test").run();
    // The script may run before the word of its start has arrived: then the next `hello` says so.
    wait_until("the command to run", PATIENCE, || {
        fleet.admin.get(&format!("/commands/{id}")).expect(200)["status"] == "running"
    });
    std::fs::write(&go, "").unwrap();
    let done = fleet.admin.wait_command(&id);
    assert_eq!(
        (&done["status"], &done["exit_code"]),
        (&json!("failed"), &json!(3)),
        "{done}"
    );
    assert_eq!(lines(&log), ["run", "end"]);
}

#[test]
fn a_script_that_ended_while_its_agent_was_dead_keeps_its_outcome() {
    let (mut fleet, host) = fleet_of_one();
    let (log, go) = (fleet.path("log"), fleet.path("go"));
    let id = fleet.admin.run_on_host(&host, &slow_script(&log, &go));
    wait_until("the script to run", PATIENCE, || !lines(&log).is_empty());
    fleet.agent("one.test").kill();
    std::fs::write(&go, "").unwrap();
    wait_until("the script to end unseen", PATIENCE, || {
        lines(&log).len() == 2
    });
    fleet.agent("one.test").run();
    let done = fleet.admin.wait_command(&id);
    assert_eq!(
        (&done["status"], &done["exit_code"]),
        (&json!("failed"), &json!(3)),
        "{done}"
    );
    assert_eq!(lines(&log), ["run", "end"]);
}

#[test]
fn an_agent_whose_disk_is_lost_leaves_an_unknown_outcome_and_no_second_start() {
    let (mut fleet, host) = fleet_of_one();
    let (log, go) = (fleet.path("log"), fleet.path("go"));
    let id = fleet.admin.run_on_host(&host, &slow_script(&log, &go));
    wait_until("the script to run", PATIENCE, || !lines(&log).is_empty());
    fleet.agent("one.test").kill();
    let data = fleet.agent("one.test").settings.folder.join("data");
    for entry in std::fs::read_dir(&data).unwrap().flatten() {
        if entry.file_name().to_string_lossy().contains("journal") {
            let path = entry.path();
            let removed = if path.is_dir() {
                std::fs::remove_dir_all(path)
            } else {
                std::fs::remove_file(path)
            };
            removed.unwrap();
        }
    }
    fleet.agent("one.test").run();
    let done = fleet.admin.wait_command(&id);
    let expected = (&json!("failed"), &json!("outcome_unknown"));
    assert_eq!((&done["status"], &done["reason"]), expected, "{done}");
    std::fs::write(&go, "").unwrap();
    let after = fleet.run_script(&host, "true");
    assert_eq!(after["status"], "succeeded", "{after}");
    assert_eq!(lines(&log).iter().filter(|line| *line == "run").count(), 1);
}

fn server_killed_mid_script(engine: Engine) {
    let mut fleet = Setup::community().on(engine).start();
    let host = fleet.add_agent("one.test", &[]);
    let (log, go) = (fleet.path("log"), fleet.path("go"));
    let id = fleet.admin.run_on_host(&host, &slow_script(&log, &go));
    wait_until("the script to run", PATIENCE, || !lines(&log).is_empty());
    fleet.server.kill();
    std::fs::write(&go, "").unwrap();
    wait_until("the script to end meanwhile", PATIENCE, || {
        lines(&log).len() == 2
    });
    fleet.server.launch();
    fleet.server.wait_ready();
    let done = fleet.admin.wait_command(&id);
    assert_eq!(
        (&done["status"], &done["exit_code"]),
        (&json!("failed"), &json!(3)),
        "{done}"
    );
    assert_eq!(number(&done, "attempt"), 1);
    assert_eq!(lines(&log), ["run", "end"]);
    // The agent found its way back by itself.
    fleet.admin.wait_online(&host);
}

#[test]
fn a_killed_server_learns_what_happened_meanwhile_on_sqlite() {
    server_killed_mid_script(Engine::Sqlite);
}

#[test]
fn a_killed_server_learns_what_happened_meanwhile_on_postgres() {
    server_killed_mid_script(Engine::Postgres);
}

#[test]
fn cancelling_a_running_command_kills_its_tree() {
    let (fleet, host) = fleet_of_one();
    let (log, go) = (fleet.path("log"), fleet.path("go"));
    let id = fleet.admin.run_on_host(&host, &slow_script(&log, &go));
    wait_until("the script to run", PATIENCE, || !lines(&log).is_empty());
    fleet
        .admin
        .post(
            &format!("/commands/{id}/cancel"),
            &json!({"running": "kill"}),
        )
        .expect(200);
    let done = fleet.admin.wait_command(&id);
    assert_eq!(done["status"], "failed", "{done}");
    std::fs::write(&go, "").unwrap();
    let again = fleet
        .admin
        .post(&format!("/commands/{id}/cancel"), &json!({}));
    assert_eq!(
        (again.status, again.code().as_str()),
        (409, "invalid-transition")
    );
    // The next command comes after the tree is gone, and the killed script never said its end.
    assert_eq!(fleet.run_script(&host, "true")["status"], "succeeded");
    assert_eq!(lines(&log), ["run"]);
}

#[test]
fn cancelling_what_has_not_been_sent_skips_it() {
    let (mut fleet, host) = fleet_of_one();
    fleet.agent("one.test").stop();
    wait_until("the host to be offline", PATIENCE, || {
        fleet.admin.get(&format!("/hosts/{host}")).expect(200)["status"] == "offline"
    });
    let log = fleet.path("log");
    let id = fleet
        .admin
        .run_on_host(&host, &script(&format!("echo run >> {}", log.display())));
    fleet
        .admin
        .post(&format!("/commands/{id}/cancel"), &json!({}))
        .expect(200);
    let done = fleet.admin.wait_command(&id);
    assert_eq!(
        (&done["status"], &done["reason"]),
        (&json!("skipped"), &json!("cancelled"))
    );
    fleet.agent("one.test").run();
    assert_eq!(fleet.run_script(&host, "true")["status"], "succeeded");
    assert!(lines(&log).is_empty());
}

#[test]
fn a_stopped_server_drains_and_its_agents_come_back() {
    let (mut fleet, host) = fleet_of_one();
    assert!(
        fleet.server.stop().success(),
        "SIGTERM ends it with success"
    );
    fleet.server.launch();
    fleet.server.wait_ready();
    fleet.admin.wait_online(&host);
    assert_eq!(fleet.run_script(&host, "true")["status"], "succeeded");
}

#[test]
fn the_history_of_a_host_is_newest_first() {
    let (fleet, host) = fleet_of_one();
    let ids: Vec<String> = (0..3)
        .map(|_| text(&fleet.run_script(&host, "true"), "id"))
        .collect();
    let listed: Vec<String> = fleet
        .admin
        .all(&format!("/hosts/{host}/commands"))
        .iter()
        .map(|command| text(command, "id"))
        .collect();
    assert_eq!(listed, ids.into_iter().rev().collect::<Vec<_>>());
}
