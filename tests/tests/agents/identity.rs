//! Who an agent is, and what becomes of it when operators decide.

use std::time::Duration;

use fleetwright_tests::agent_process::{AgentProcess, AgentSettings};
use fleetwright_tests::client::{script, text};
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::wait::{PATIENCE, holds_throughout, wait_until};
use serde_json::json;

use super::{CUT_PATIENCE, fleet_of_one};

fn settings(fleet: &TestFleet, fqdn: &str) -> AgentSettings {
    AgentSettings {
        folder: fleet.path(&format!("agent-{fqdn}")),
        fqdn: fqdn.to_owned(),
        server_url: fleet.server.agent_url(),
        heartbeat_seconds: 2,
        extra: String::new(),
        within: Vec::new(),
        program: None,
    }
}

fn status(fleet: &TestFleet, host: &str) -> String {
    text(
        &fleet.admin.get(&format!("/hosts/{host}")).expect(200),
        "status",
    )
}

#[test]
fn a_pending_host_runs_nothing_until_it_is_approved() {
    let mut fleet = Setup::community().start();
    let token = fleet.admin.enrollment_token(1, false, &["fresh"]);
    let host = fleet.add_agent_with("new.test", &token, "");
    let view = fleet.admin.get(&format!("/hosts/{host}")).expect(200);
    assert_eq!(view["approval_status"], "pending");
    assert_eq!(view["tags"], json!(["fresh"]));
    let refused = fleet
        .admin
        .post(&format!("/hosts/{host}/commands"), &script("true"));
    assert_eq!(refused.status, 409, "{}", refused.text());
    fleet.admin.approve(&host);
    fleet.admin.wait_online(&host);
    assert_eq!(fleet.run_script(&host, "true")["status"], "succeeded");
}

#[test]
fn a_rejected_host_is_cut_off_and_stays_out() {
    let (fleet, host) = fleet_of_one();
    fleet
        .admin
        .post(&format!("/hosts/{host}/reject"), &json!({}))
        .expect(200);
    wait_until("the host to be cut off", CUT_PATIENCE, || {
        status(&fleet, &host) == "offline"
    });
    holds_throughout("offline", Duration::from_secs(2), || {
        status(&fleet, &host) == "offline"
    });
    let refused = fleet
        .admin
        .post(&format!("/hosts/{host}/commands"), &script("true"));
    assert_eq!(refused.status, 409, "{}", refused.text());
}

#[test]
fn a_token_lets_in_as_many_as_it_says() {
    let mut fleet = Setup::community().start();
    let token = fleet.admin.enrollment_token(1, true, &[]);
    fleet.add_agent_with("first.test", &token, "");
    let second = settings(&fleet, "second.test");
    let refused = std::panic::catch_unwind(|| AgentProcess::enroll(second, &token));
    assert!(refused.is_err(), "a second agent used a token for one");
    assert!(fleet.admin.host_named("second.test").is_none());
}

#[test]
fn an_unknown_authority_is_not_told_the_token() {
    let fleet = Setup::community().start();
    let other = Setup::community().start();
    // The token pins the first server's authority; the agent is pointed to the second.
    let token = fleet.admin.enrollment_token(1, true, &[]);
    let astray = AgentSettings {
        server_url: other.server.agent_url(),
        ..settings(&fleet, "astray.test")
    };
    let refused = std::panic::catch_unwind(|| AgentProcess::enroll(astray, &token));
    assert!(
        refused.is_err(),
        "it enrolled with a server it must not trust"
    );
    let right = AgentProcess::enroll(settings(&fleet, "right.test"), &token);
    drop(right);
    assert!(fleet.admin.host_named("right.test").is_some());
}

#[test]
fn a_deleted_host_is_gone_and_its_agent_is_cut_off() {
    let (mut fleet, host) = fleet_of_one();
    assert_eq!(fleet.admin.delete(&format!("/hosts/{host}")).status, 204);
    assert_eq!(fleet.admin.get(&format!("/hosts/{host}")).status, 404);
    holds_throughout("gone", Duration::from_secs(2), || {
        fleet.admin.host_named("one.test").is_none()
    });
    // The agent itself lives on and keeps trying, or has ended by itself; it does nothing.
    let _ = fleet.agent("one.test").is_running();
}

#[test]
fn facts_tags_and_attributes_reach_the_inventory() {
    let mut fleet = Setup::community().start();
    let token = fleet.admin.enrollment_token(1, true, &["from-token"]);
    let extra = "tags = [\"from-agent\"]\nattributes = { rack = \"7\" }";
    let host = fleet.add_agent_with("facts.test", &token, extra);
    fleet
        .admin
        .patch(
            &format!("/hosts/{host}"),
            &json!({"tags": ["from-operator"], "attributes": {"site": "x"}}),
        )
        .expect(200);
    wait_until("everything to be known", PATIENCE, || {
        let view = fleet.admin.get(&format!("/hosts/{host}")).expect(200);
        view["platform_release"] == "debian"
            && view["tags"] == json!(["from-operator"])
            && view["agent_tags"] == json!(["from-agent"])
            && view["attributes"] == json!({"site": "x"})
            && view["agent_attributes"] == json!({"rack": "7"})
    });
}
