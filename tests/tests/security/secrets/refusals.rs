//! Who may not use a secret, or not there, or not any more, has nothing sent.

use fleetwright_tests::client::{Client, text};
use fleetwright_tests::databases::Engine;
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::http::Answer;
use fleetwright_tests::wait::{PATIENCE, wait_for};
use serde_json::{Value, json};

use super::{set, unique};

/// A token of an operator with these scopes, and what running something asks for besides.
fn operator(fleet: &TestFleet, scopes: &[&str]) -> Client {
    let body = |more: &[&str]| {
        let scopes = [scopes, more].concat();
        json!({"name": "narrow", "role": "operator", "scopes": scopes})
    };
    let mut made = fleet
        .admin
        .post("/tokens", &body(&["hosts", "fleet", "operations"]));
    if made.status == 422 {
        made = fleet.admin.post("/tokens", &body(&["hosts", "fleet"]));
    }
    fleet.admin.with_token(&text(&made.expect(201), "token"))
}

fn with_variable(reference: Value) -> Value {
    json!({"operation_type": "run_script", "parameters": {"script": "echo ran >> ran", "env": {"P": reference}}})
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str, pointer: &str) {
    let told = answer.text();
    assert_eq!(answer.status, status, "{told}");
    assert!(
        told.contains(code) && told.contains(pointer),
        "{code} {pointer}: {told}"
    );
}

#[test]
fn who_may_not_use_a_secret_there_launches_nothing_with_it() {
    let mut fleet = Setup::pro().start();
    let (inside, outside) = (
        fleet.add_agent("in.test", &["db"]),
        fleet.add_agent("out.test", &[]),
    );
    let group = json!({"name": "databases", "selector": {"tags": ["db"]}});
    fleet.admin.post("/fleet/groups", &group).expect(201);
    set(&fleet, "free", &unique("free"));
    let bound = json!({"value": unique("bound"), "groups": ["databases"]});
    fleet
        .admin
        .put("/secrets/bound/to/group", &bound)
        .expect(200);
    // A new version keeps its groups.
    fleet
        .admin
        .put(
            "/secrets/bound/to/group",
            &json!({"value": unique("bound")}),
        )
        .expect(200);
    fleet
        .admin
        .put("/secrets/binary", &json!({"value_base64": "/wD/AP8A/wA="}))
        .expect(200);
    let send = |caller: &Client, host: &str, reference: Value| {
        caller.post(
            &format!("/hosts/{host}/commands"),
            &with_variable(reference),
        )
    };
    let named = |name: &str| json!({ "secret": name });
    let at = "/parameters/env/P";

    let (without, with) = (operator(&fleet, &[]), operator(&fleet, &["secrets.use"]));
    let viewer = fleet.admin.token_of_role("viewer");
    assert_refused(&send(&viewer, &inside, named("free")), 403, "forbidden", "");
    assert_refused(
        &send(&without, &inside, named("free")),
        403,
        "secrets.use",
        "",
    );
    assert_refused(
        &send(&without, &inside, named("nosuch")),
        403,
        "secrets.use",
        "",
    );
    assert_refused(
        &send(&with, &inside, named("nosuch")),
        422,
        "secret-unknown",
        at,
    );
    assert_refused(
        &send(&with, &inside, json!({"secret": "free", "version": 2})),
        422,
        "secret-unknown",
        at,
    );
    assert_refused(
        &send(&with, &inside, named("../free")),
        422,
        "operation-secret-invalid",
        at,
    );
    assert_refused(
        &send(&with, &inside, named("binary")),
        422,
        "secret-not-text",
        at,
    );
    assert_refused(
        &send(&with, &outside, named("bound/to/group")),
        422,
        "secret-not-for-host",
        at,
    );
    assert_refused(&viewer.get("/secrets"), 403, "forbidden", "");
    assert_refused(&with.get("/secrets"), 403, "forbidden", "");
    assert_refused(
        &fleet
            .admin
            .token_of_role("operator")
            .put("/secrets/x", &json!({"value": "x"})),
        403,
        "forbidden",
        "",
    );

    // The same over many hosts, before anything is stored.
    let over = |path: &str, more: Value| {
        let mut body = with_variable(named("bound/to/group"));
        body["selector"] = json!({"all_hosts": true});
        for (name, value) in more.as_object().expect("an object") {
            body[name] = value.clone();
        }
        with.post(path, &body)
    };
    assert_refused(
        &over("/fleet/bulk", json!({})),
        422,
        "secret-not-for-host",
        at,
    );
    assert_refused(
        &over("/fleet/bulk", json!({"plan_only": true})),
        422,
        "secret-not-for-host",
        at,
    );
    assert_refused(
        &over("/fleet/rolling", json!({"batch_size": 1})),
        422,
        "secret-not-for-host",
        at,
    );
    let undo = json!({"operation_type": "deploy_file", "parameters": {"path": "/x", "content_secret": "nosuch"}});
    let rollback = json!({"batch_size": 1, "parameters": {"script": "true"}, "rollback": undo});
    let rollback = over("/fleet/rolling", rollback);
    assert_refused(
        &rollback,
        422,
        "secret-unknown",
        "/rollback/parameters/content_secret",
    );
    let mut body = with_variable(named("free"));
    body["selector"] = json!({"all_hosts": true});
    assert_refused(&without.post("/fleet/bulk", &body), 403, "secrets.use", "");

    // A schedule asks anew at each fire, as its owner.
    body["name"] = json!("nightly");
    body["cron"] = json!("0 0 1 1 *");
    body["selector"] = json!({"tags": ["db"]});
    let schedule = text(&without.post("/fleet/schedules", &body).expect(201), "id");
    without.post(&format!("/fleet/schedules/{schedule}/run"), &json!({}));
    wait_for("the fire to be refused", PATIENCE, || {
        let runs = fleet
            .admin
            .all(&format!("/fleet/schedules/{schedule}/runs"));
        runs.iter()
            .any(|run| run["status"] == "failed_to_launch")
            .then_some(())
    });
    for host in [&inside, &outside] {
        assert!(
            fleet
                .admin
                .all(&format!("/hosts/{host}/commands"))
                .is_empty()
        );
    }
    assert!(
        fleet.admin.all("/fleet/bulk").is_empty() && fleet.admin.all("/fleet/rolling").is_empty()
    );

    // Who may, may, where it may go.
    let sent = send(&with, &inside, named("bound/to/group")).expect(201);
    assert_eq!(
        fleet.admin.wait_command(&text(&sent, "id"))["status"],
        "succeeded"
    );
    body["name"] = json!("allowed");
    let schedule = text(&with.post("/fleet/schedules", &body).expect(201), "id");
    with.post(&format!("/fleet/schedules/{schedule}/run"), &json!({}));
    wait_for("the fire to succeed", PATIENCE, || {
        let runs = fleet
            .admin
            .all(&format!("/fleet/schedules/{schedule}/runs"));
        runs.iter()
            .any(|run| run["status"] == "succeeded")
            .then_some(())
    });
}

fn refused_when_sent(engine: Engine) {
    let mut fleet = Setup::pro().on(engine).start();
    let host = fleet.add_agent("one.test", &[]);
    let ran = fleet.path("ran");
    set(&fleet, "a/b", &unique("first"));
    fleet.agent("one.test").stop();
    let script = format!("echo \"$P\" >> {}", ran.display());
    let body = json!({"operation_type": "run_script", "parameters": {"script": script, "env": {"P": {"secret": "a/b"}}}});
    let single = fleet.admin.run_on_host(&host, &body);
    let mut over = body.clone();
    over["selector"] = json!({"all_hosts": true});
    let bulk = fleet.admin.bulk(&over);
    assert_eq!(fleet.admin.delete("/secrets/a/b").status, 204);
    assert_eq!(fleet.admin.delete("/secrets/a/b").status, 404);
    assert_eq!(fleet.admin.delete("/secrets/a%00").status, 400);
    fleet.agent("one.test").run();
    let ended = fleet.admin.wait_command(&single);
    assert_eq!(
        (&ended["status"], &ended["reason"]),
        (&json!("skipped"), &json!("secret_unavailable"))
    );
    assert_eq!(fleet.admin.wait_bulk(&bulk)["status"], "failed");
    let rows = fleet.admin.bulk_hosts(&bulk);
    assert_eq!(rows[0]["reason"], "secret_unavailable", "{rows:?}");
    assert!(!ran.exists(), "nothing was sent");

    // It comes back under the next number, and what names the old one finds none.
    assert_eq!(set(&fleet, "a/b", &unique("second"))["version"], 2);
    let mut old = body.clone();
    old["parameters"]["env"]["P"]["version"] = json!(1);
    let path = format!("/hosts/{host}/commands");
    assert_refused(
        &fleet.admin.post(&path, &old),
        422,
        "secret-unknown",
        "/parameters/env/P",
    );
    let again = fleet.admin.run_on_host(&host, &body);
    assert_eq!(fleet.admin.wait_command(&again)["status"], "succeeded");

    // A server with another key says so, and sends nothing.
    fleet.server.stop();
    let key = fleet.server.settings.data_dir().join("secrets.key");
    let mode =
        std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&key).expect("the key is there"));
    assert_eq!(mode & 0o777, 0o600);
    std::fs::write(&key, [9; 32]).expect("the key can be replaced");
    fleet.server.launch();
    fleet.server.wait_ready();
    assert!(
        fleet.server.log().contains("secrets that cannot be read"),
        "{}",
        fleet.server.log()
    );
    assert_refused(
        &fleet.admin.post(&path, &body),
        422,
        "secret-unreadable",
        "/parameters/env/P",
    );
}

#[test]
fn a_deleted_secret_is_noticed_before_anything_is_sent_on_sqlite() {
    refused_when_sent(Engine::Sqlite);
}

#[test]
fn a_deleted_secret_is_noticed_before_anything_is_sent_on_postgres() {
    refused_when_sent(Engine::Postgres);
}
