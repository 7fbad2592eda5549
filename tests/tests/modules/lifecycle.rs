//! Modules come, are licensed and are replaced while the server runs.

use std::collections::BTreeMap;

use fleetwright_tests::fleet::TestFleet;
use fleetwright_tests::wait::{wait_for, wait_until};
use serde_json::{Value, json};

use crate::fixtures::{
    FOREIGN, GOOD, PATIENCE, RELEASED, claims, drop_module, library, listed, module, modules,
    patched, put_license, start, start_with_fixture, wait_state,
};

fn version(bytes: Vec<u8>, to: &str) -> Vec<u8> {
    patched(
        bytes,
        "\"version\":\"1.0.0\"",
        &format!("\"version\":\"{to}\""),
    )
}

#[test]
fn a_dropped_module_and_then_a_licence_work_without_a_restart() {
    let fleet = start();
    let room = || fleet.admin.get("/fleet/x-fixture/room");
    assert_eq!(room().status, 404, "nobody declares it yet");
    drop_module(&fleet, "fixture.so", &library(GOOD));
    wait_state(&fleet, "fixture", "unlicensed");
    let answer = room();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (402, "feature-not-available")
    );
    let body = answer.json();
    assert_eq!(
        (&body["feature"], &body["module"]),
        (&json!("x_fixture"), &json!("fixture"))
    );
    assert_eq!(body["reason"], "not_licensed");
    put_license(&fleet, &claims(&["x_fixture"]));
    wait_state(&fleet, "fixture", "running");
    let body = room().expect(200);
    assert_eq!(
        (&body["role"], &body["spawned"]),
        (&json!("admin"), &json!(7))
    );
}

#[test]
fn a_module_that_was_built_with_the_first_released_api_works_on() {
    let fleet = start();
    drop_module(&fleet, "released.so", &library(RELEASED));
    put_license(&fleet, &claims(&["x_released"]));
    wait_state(&fleet, "released", "running");
    let told = fleet.admin.get("/fleet/x-released/server").expect(200);
    assert_eq!(told["interfaces"], 9, "{told}");
    assert_eq!(
        (&told["clock"], &told["nobody"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(
        (&told["tables"], &told["feature"]["new_work"]),
        (&json!(0), &json!(true))
    );
    assert!(told["hosts"].is_object(), "{told}");
    let api = told["environment"]["module_api"]
        .as_str()
        .unwrap_or_default();
    assert!(
        api.starts_with("2.") && api != "2.0.0",
        "{api}: nothing was added yet"
    );
}

#[test]
fn checks_come_in_order_and_the_module_sees_only_what_passed_them() {
    let fleet = start_with_fixture();
    let (viewer, operator) = (
        fleet.admin.token_of_role("viewer"),
        fleet.admin.token_of_role("operator"),
    );
    let nobody = fleetwright_tests::client::Client::anonymous(fleet.server.listen);
    for path in ["/fleet/x-fixture/room", "/fleet/nonsense", "/fleet/bulk"] {
        assert_eq!(nobody.get(path).status, 401, "{path}");
    }
    assert_eq!(viewer.get("/fleet/nonsense").status, 404);
    let other = viewer.put("/fleet/x-fixture/room", &json!({}));
    assert_eq!(
        (other.status, other.header("allow")),
        (405, Some("GET, HEAD"))
    );
    assert_eq!(
        viewer
            .post("/fleet/x-fixture/notes", &json!("garbage"))
            .status,
        403
    );
    assert_eq!(
        operator.post("/fleet/x-fixture/admin", &json!({})).status,
        403
    );
    assert_eq!(
        viewer.post("/fleet/bulk", &json!({})).status,
        403,
        "the role before the licence"
    );
    assert_eq!(operator.post("/fleet/bulk", &json!({})).status, 402);
    assert_eq!(
        viewer.get("/fleet/x-fixture/room").expect(200)["role"],
        "viewer"
    );
    let unknown = operator.post(
        "/fleet/x-fixture/notes",
        &json!({"id": 1, "text": "a", "txet": "b"}),
    );
    assert_eq!(
        (unknown.status, unknown.code().as_str()),
        (422, "unknown-field")
    );
    let large = vec![b' '; 1024 * 1024 + 1];
    let request = operator
        .request("POST", "/fleet/x-fixture/notes")
        .bytes(large);
    assert_eq!(
        operator
            .send(&request.header("content-type", "application/json"))
            .status,
        413
    );
    // Each route by what it declares itself: this one takes two MiB, and one byte more is too much.
    for (bytes, status) in [(2 * 1024 * 1024, 200), (2 * 1024 * 1024 + 1, 413)] {
        let request = fleet
            .admin
            .request("POST", "/fleet/x-fixture/admin")
            .bytes(vec![b' '; bytes]);
        assert_eq!(fleet.admin.send(&request).status, status, "{bytes}");
    }
}

#[test]
fn a_newer_file_replaces_the_module_and_an_older_one_is_refused() {
    let fleet = start_with_fixture();
    fleet
        .admin
        .post("/fleet/x-fixture/notes", &json!({"id": 1, "text": "kept"}))
        .expect(201);
    let newer = version(library(GOOD), "1.1.0");
    drop_module(&fleet, "fixture.so", &newer);
    wait_for("the newer version to run", PATIENCE, || {
        listed(&fleet, "fixture")
            .filter(|item| item["version"] == "1.1.0" && item["state"] == "running")
    });
    let notes = fleet.admin.get("/fleet/x-fixture/notes").expect(200);
    assert_eq!(notes["items"], json!([{"id": 1, "text": "kept"}]));

    drop_module(&fleet, "older.so", &version(library(GOOD), "1.0.9"));
    let refused = wait_for("the older file to be listed", PATIENCE, || {
        let items = fleet.admin.get("/modules").expect(200);
        items["items"]
            .as_array()?
            .iter()
            .find(|item| item["file"] == "older.so")
            .cloned()
    });
    assert_eq!(refused["reason"], "version 1.1.0 is loaded, which is newer");
    fleet.admin.get("/fleet/x-fixture/room").expect(200);
}

/// What the module list says of each file, by file.
fn files(fleet: &TestFleet) -> BTreeMap<String, (String, String)> {
    let text = |item: &Value, name: &str| item[name].as_str().unwrap_or_default().to_owned();
    let items = modules(fleet);
    let told = items.iter().map(|item| {
        let what = (text(item, "state"), text(item, "reason"));
        (text(item, "file"), what)
    });
    told.collect()
}

#[test]
fn of_two_files_of_one_module_one_is_used_and_stays_so() {
    let fleet = start_with_fixture();
    let folder = fleet.server.settings.modules_dir();
    let used = ("running".to_owned(), String::new());
    let passed_over = |by: &str, version: &str| {
        let reason = format!("{by} is fixture {version} too and is the one that is used");
        ("failed".to_owned(), reason)
    };
    let state = |one: &str, other: &str| {
        let all = files(&fleet);
        (all.get(one).cloned(), all.get(other).cloned())
    };
    // One library under two names; the second comes first in the folder.
    for suffix in [".sig", ""] {
        let name = |file: &str| folder.join(format!("{file}{suffix}"));
        std::fs::hard_link(name("fixture.so"), name("fixture-copy.so")).expect("linked");
    }
    let first = (Some(used.clone()), Some(passed_over("fixture.so", "1.0.0")));
    let mut notes = 0;
    for _ in 0..4 {
        assert_eq!(state("fixture.so", "fixture-copy.so"), first);
        notes += 1;
        let note = json!({"id": notes, "text": "a"});
        fleet
            .admin
            .post("/fleet/x-fixture/notes", &note)
            .expect(201);
    }
    // Another build of the same version: the one that is used is not replaced by it, again and again.
    drop_module(&fleet, "built-again.so", &library(module("drop_panics")));
    for _ in 0..4 {
        let found = state("fixture.so", "built-again.so");
        assert_eq!(found, first);
    }
    assert_eq!(
        fleet
            .server
            .log()
            .matches("module fixture 1.0.0 loaded")
            .count(),
        1,
        "loaded once"
    );
    // The one that is used goes: another takes over, the first by name, and says so. It is another build.
    for file in ["fixture.so", "fixture.so.sig"] {
        std::fs::remove_file(folder.join(file)).expect("removed");
    }
    wait_for("another file to be used", PATIENCE, || {
        let found = state("built-again.so", "fixture-copy.so");
        let expected = (
            Some(used.clone()),
            Some(passed_over("built-again.so", "1.0.0")),
        );
        (found == expected).then_some(())
    });
    let room = || fleet.admin.get("/fleet/x-fixture/room").expect(200);
    assert_eq!(room()["variant"], "drop_panics");
    // A newer one is used whatever it is called; the others are older now.
    drop_module(&fleet, "z.so", &version(library(GOOD), "1.1.0"));
    wait_for("the newer to be used", PATIENCE, || {
        (files(&fleet).get("z.so") == Some(&used)).then_some(())
    });
    let older = (
        "failed".to_owned(),
        "version 1.1.0 is loaded, which is newer".to_owned(),
    );
    wait_for("the older to be refused", PATIENCE, || {
        let found = state("built-again.so", "fixture-copy.so");
        (found == (Some(older.clone()), Some(older.clone()))).then_some(())
    });
    assert_eq!(room()["variant"], "good");
}

#[test]
fn a_module_that_panics_while_it_is_dropped_is_replaced_like_any_other() {
    let fleet = start();
    drop_module(&fleet, "fixture.so", &library(module("drop_panics")));
    put_license(&fleet, &claims(&["x_fixture"]));
    wait_state(&fleet, "fixture", "running");
    fleet.admin.get("/fleet/x-fixture/room").expect(200);
    drop_module(&fleet, "fixture.so", &version(library(GOOD), "1.1.0"));
    wait_until("the old one to be dropped", PATIENCE, || {
        fleet.server.log().contains("no farewell today")
    });
    wait_state(&fleet, "fixture", "running");
    assert_eq!(
        fleet.admin.get("/fleet/x-fixture/room").expect(200)["variant"],
        "good"
    );
}

#[test]
fn a_module_that_blocks_in_start_is_noticed_and_can_be_replaced() {
    let fleet = start();
    drop_module(&fleet, "fixture.so", &library(module("start_blocks")));
    put_license(&fleet, &claims(&["x_fixture"]));
    wait_until("the watchdog to see it", PATIENCE, || {
        fleet
            .server
            .log()
            .contains("module fixture blocks its thread")
    });
    let failed = wait_state(&fleet, "fixture", "failed");
    assert_eq!(
        failed["reason"],
        "it did not come back from start within 30 s"
    );
    drop_module(&fleet, "fixture.so", &version(library(GOOD), "1.1.0"));
    wait_state(&fleet, "fixture", "running");
    fleet.admin.get("/fleet/x-fixture/room").expect(200);
}

#[test]
fn a_restart_brings_modules_back_and_remembers_the_newest_version() {
    let mut fleet = start_with_fixture();
    fleet.server.restart();
    wait_state(&fleet, "fixture", "running");
    let path = fleet.server.settings.modules_dir().join("fixture.so");
    fleet.server.kill();
    std::fs::remove_file(path).expect("removed");
    drop_module(&fleet, "fixture.so", &version(library(GOOD), "0.9.0"));
    fleet.server.launch();
    fleet.server.wait_ready();
    let item = wait_state(&fleet, "fixture", "failed");
    assert_eq!(
        item["reason"],
        "version 1.0.0 has been installed here, which is newer"
    );
}

#[test]
fn a_module_of_another_workspace_loads_and_runs() {
    let fleet = start();
    drop_module(&fleet, "foreign.so", &library(FOREIGN));
    put_license(&fleet, &claims(&["x_foreign"]));
    wait_state(&fleet, "foreign", "running");
    let answer = fleet.admin.get("/fleet/x-foreign/hello").expect(200);
    assert_eq!(answer, json!({"hello": "from elsewhere", "slept": true}));
}
