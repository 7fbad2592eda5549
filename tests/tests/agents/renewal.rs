//! What becomes of an identity over time: renewals, ends, copies. Certificates live for seconds here.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fleetwright_tests::agent_process::AgentProcess;
use fleetwright_tests::client::text;
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::wait::{PATIENCE, holds_throughout, wait_for, wait_until};
use serde_json::Value;

use super::CUT_PATIENCE;

/// Long enough for a slow machine to renew in the last third of it.
const LIFETIME_SECONDS: u64 = 24;

fn short_lived() -> (TestFleet, String) {
    let line = format!("agent_certificate_seconds = {LIFETIME_SECONDS}");
    let mut fleet = Setup::community().with(&line).start();
    let host = fleet.add_agent("short.test", &[]);
    fleet.admin.wait_online(&host);
    (fleet, host)
}

fn generation(agent: &AgentProcess) -> u64 {
    agent.status()["generation"].as_u64().unwrap()
}

fn copy_folder(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(done.unwrap().success());
}

fn audited(fleet: &TestFleet, action: &str, host: &str) -> Vec<Value> {
    let rows = fleet.admin.all(&format!("/audit?action={action}"));
    rows.into_iter()
        .filter(|row| row["target_id"] == host)
        .collect()
}

#[test]
fn a_connected_agent_renews_and_works_on() {
    let (mut fleet, host) = short_lived();
    wait_until("a second renewal", 3 * PATIENCE, || {
        generation(fleet.agent("short.test")) >= 3
    });
    fleet.admin.wait_online(&host);
    assert_eq!(fleet.run_script(&host, "true")["status"], "succeeded");
}

#[test]
fn a_socket_ends_with_its_certificate_and_the_agent_comes_back_with_a_new_one() {
    let (mut fleet, host) = short_lived();
    // Stopped over its whole lifetime, and well past it.
    fleet.agent("short.test").stop();
    let until = fleet.agent("short.test").status()["certificate_until_unix_seconds"].as_u64();
    let before = generation(fleet.agent("short.test"));
    wait_until("the certificate to end", 2 * PATIENCE, || {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        now.as_secs() > until.unwrap() + 1
    });
    fleet.agent("short.test").run();
    fleet.admin.wait_online(&host);
    assert!(generation(fleet.agent("short.test")) > before);
    assert_eq!(fleet.run_script(&host, "true")["status"], "succeeded");
}

#[test]
fn a_copied_machine_locks_both_until_an_operator_decides() {
    let (mut fleet, host) = short_lived();
    fleet.agent("short.test").stop();
    let own = fleet.agent("short.test").settings.clone();
    let copy = own.folder.with_file_name("copy");
    copy_folder(&own.folder, &copy);
    let toml = std::fs::read_to_string(copy.join("agent.toml")).unwrap();
    let toml = toml.replace(own.folder.to_str().unwrap(), copy.to_str().unwrap());
    std::fs::write(copy.join("agent.toml"), toml).unwrap();
    let before = generation(fleet.agent("short.test"));
    fleet.agent("short.test").run();
    wait_until("the first machine to renew", 2 * PATIENCE, || {
        generation(fleet.agent("short.test")) > before
    });
    fleet.admin.wait_online(&host);

    let mut settings = own.clone();
    settings.folder = copy;
    let mut clone = AgentProcess::of_enrolled(settings);
    clone.run();
    let locked = wait_for("the lock", 2 * PATIENCE, || {
        audited(&fleet, "host.lock", &host).pop()
    });
    assert!(
        text(&locked["detail"], "reason").contains("two machines"),
        "{locked}"
    );
    wait_until("the first machine to be cut off", CUT_PATIENCE, || {
        let view = fleet.admin.get(&format!("/hosts/{host}")).expect(200);
        view["status"] == "offline"
    });
    holds_throughout("nobody connects", Duration::from_secs(2), || {
        let view = fleet.admin.get(&format!("/hosts/{host}")).expect(200);
        view["status"] == "offline"
    });
    clone.stop();
    // The operator knows which one is right, and says so.
    fleet.admin.approve(&host);
    fleet.admin.wait_online(&host);
    assert_eq!(fleet.run_script(&host, "true")["status"], "succeeded");
}
