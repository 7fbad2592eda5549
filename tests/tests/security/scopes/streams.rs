//! Streams end with the right to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use fleetwright_tests::client::{Client, script, text};
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::http::Events;
use fleetwright_tests::load::crowd::Crowd;
use fleetwright_tests::load::scripted::ScriptedAgent;
use serde_json::json;

use super::{PASSWORD, change, token, user};

/// Streams are looked at every 15 s, and what comes of it takes a busy machine some time.
const LOOKED_AT: Duration = Duration::from_secs(15 + 25);

/// Tells when the stream ends, and how.
fn report_end(name: String, mut events: Events, ends: &Sender<(String, std::io::Result<()>)>) {
    let ends = ends.clone();
    std::thread::spawn(move || {
        let end = loop {
            match events.next_event() {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        // Nobody listens once the test is over.
        let _ = ends.send((name, end));
    });
}

/// A fleet with an approved host whose agent never answers, so that nothing on it ends; the paths of its streams: the core's, and
/// those of two modules.
fn endless() -> (TestFleet, ScriptedAgent, Vec<String>) {
    let fleet = Setup::pro().start();
    let enrollment = fleet.admin.enrollment_token(1, true, &[]);
    let crowd = Crowd::new(fleet.server.agent_listen, Duration::from_secs(10));
    let host = crowd.enroll(&enrollment, "sim", 1).remove(0);
    let mut agent = ScriptedAgent::welcomed(fleet.server.agent_listen, &host);
    let id = host.host_id.to_string();
    let command = fleet.admin.run_on_host(&id, &script("true"));
    agent.hear_type("command");
    let mut operation = script("true");
    operation["selector"] = json!({"explicit_host_ids": [id]});
    let bulk = text(
        &fleet.admin.post("/fleet/bulk", &operation).expect(202),
        "id",
    );
    operation["batch_size"] = json!(1);
    let rolling = text(
        &fleet.admin.post("/fleet/rolling", &operation).expect(202),
        "id",
    );
    let paths = vec![
        "/events".to_owned(),
        format!("/commands/{command}/output?follow=true"),
        format!("/fleet/bulk/{bulk}/events"),
        format!("/fleet/rolling/{rolling}/events"),
    ];
    (fleet, agent, paths)
}

#[test]
fn a_stream_ends_with_the_right_to_it_whoever_serves_it() {
    let (fleet, _agent, paths) = endless();
    let admin = &fleet.admin;
    let log_in = |name: &str| Client::login(fleet.server.listen, name, PASSWORD);
    let names = ["out", "new-password", "demoted", "disabled", "deleted"];
    let ids: BTreeMap<&str, String> = names.map(|name| (name, user(admin, name, "admin"))).into();
    let owner = user(admin, "owner", "admin");
    let (revoked, revoked_id) = token(admin, json!({"role": "viewer"}));
    let (owned, _) = token(&log_in("owner"), json!({}));
    let mut callers: Vec<(&str, Client)> = names.map(|name| (name, log_in(name))).into();
    callers.extend([("revoked", revoked), ("a demoted owner's", owned)]);
    // Made last and opened first: its end is near.
    let (expiring, _) = token(admin, json!({"role": "viewer", "expires_in_seconds": 10}));
    callers.push(("expired", expiring));
    let (ends, ended) = mpsc::channel();
    let mut open = BTreeSet::new();
    for (name, caller) in callers.iter().rev() {
        for path in &paths {
            let name = format!("{path} of {name}");
            report_end(name.clone(), caller.events(path), &ends);
            open.insert(name);
        }
    }
    for path in &paths {
        report_end(format!("{path} of admin"), admin.events(path), &ends);
    }

    assert_eq!(callers[0].1.post("/auth/logout", &json!({})).status, 204);
    change(
        admin,
        &ids["new-password"],
        json!({"password": "another horse battery"}),
    );
    change(admin, &ids["demoted"], json!({"role": "viewer"}));
    change(admin, &ids["disabled"], json!({"disabled": true}));
    assert_eq!(
        admin.delete(&format!("/users/{}", ids["deleted"])).status,
        204
    );
    change(admin, &owner, json!({"role": "operator"}));
    assert_eq!(admin.delete(&format!("/tokens/{revoked_id}")).status, 204);

    let until = Instant::now() + LOOKED_AT;
    while !open.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        let Ok((name, end)) = ended.recv_timeout(left) else {
            panic!("still open after {LOOKED_AT:?}: {open:#?}");
        };
        assert!(end.is_ok(), "{name} was not ended but broken: {end:?}");
        assert!(open.remove(&name), "{name} ended, and its right had not");
    }
}
