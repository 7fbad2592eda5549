//! Streams to people that outlive the request that opened them: they end when there is no right or no server any more.

use std::time::{Duration, Instant};

use fleetwright_tests::client::{script, text};
use fleetwright_tests::fleet::Setup;
use fleetwright_tests::load::crowd::Crowd;
use fleetwright_tests::load::scripted::ScriptedAgent;
use serde_json::json;

use super::CUT_PATIENCE;

/// The streams are looked at every 15 s.
const LOOKED_AT: Duration = Duration::from_secs(15);

/// A command that never ends, on an agent that never answers; the path of its live output.
fn endless() -> (fleetwright_tests::fleet::TestFleet, ScriptedAgent, String) {
    let fleet = Setup::community().start();
    let token = fleet.admin.enrollment_token(1, true, &[]);
    let crowd = Crowd::new(fleet.server.agent_listen, Duration::from_secs(10));
    let host = crowd.enroll(&token, "sim", 1).remove(0);
    let mut agent = ScriptedAgent::welcomed(fleet.server.agent_listen, &host);
    let id = fleet
        .admin
        .run_on_host(&host.host_id.to_string(), &script("true"));
    agent.hear_type("command");
    (fleet, agent, format!("/commands/{id}/output?follow=true"))
}

#[test]
fn followers_do_not_hold_up_a_stopping_server() {
    let (mut fleet, _agent, output) = endless();
    let mut events = fleet.admin.events(&output);
    let asked = Instant::now();
    fleet.server.stop();
    assert!(asked.elapsed() < Duration::from_secs(15));
    assert!(!matches!(events.next_event(), Ok(Some(_))));
}

#[test]
fn the_streams_of_a_revoked_token_end() {
    let (fleet, _agent, output) = endless();
    let made = fleet
        .admin
        .post("/tokens", &json!({"name": "watcher", "role": "viewer"}))
        .expect(201);
    let watcher = fleet.admin.with_token(&text(&made, "token"));
    let mut all = watcher.events("/events");
    let hello = all.next_event().unwrap().expect("the stream has begun");
    assert_eq!(hello.kind, "hello");
    let mut live = watcher.events(&output);
    fleet
        .admin
        .delete(&format!("/tokens/{}", text(&made, "id")));
    let revoked = Instant::now();
    assert_eq!(live.next_event().unwrap(), None);
    while all.next_event().unwrap().is_some() {}
    assert!(revoked.elapsed() < LOOKED_AT + CUT_PATIENCE);
}
