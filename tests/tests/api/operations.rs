//! The operation types' parameters as the API refuses them: nothing invalid is ever stored or sent.

use std::time::Duration;

use fleetwright_tests::fleet::TestFleet;
use fleetwright_tests::load::crowd::Crowd;
use serde_json::{Value, json};

use super::{community, violations};

/// An approved host whose agent never connects.
pub fn enrolled_host(fleet: &TestFleet, prefix: &str) -> String {
    let token = fleet.admin.enrollment_token(1, true, &[]);
    let crowd = Crowd::new(fleet.server.agent_listen, Duration::from_secs(10));
    let identity = crowd.enroll(&token, prefix, 1).remove(0);
    identity.host_id.to_string()
}

fn refused() -> Vec<(&'static str, Value)> {
    let operation =
        |kind: &str, parameters: Value| json!({"operation_type": kind, "parameters": parameters});
    let script = |parameters: Value| operation("run_script", parameters);
    let file = |parameters: Value| operation("deploy_file", parameters);
    let install = |name: &str| operation("install_package", json!({"packages": [name]}));
    let step =
        json!({"name": "one", "operation_type": "run_script", "parameters": {"script": "true"}});
    let nested = json!({"name": "n", "operation_type": "apply_deployment_plan", "parameters": {"steps": [step]}});
    let many: Vec<Value> = (0..1_001)
        .map(|number| json!({"name": format!("s{number}"), "operation_type": "run_script", "parameters": {"script": "true"}}))
        .collect();
    let checked = |kind: &str, check: Value| {
        let parameters = if kind == "reboot" || kind == "shutdown" {
            json!({})
        } else {
            json!({"script": "true"})
        };
        json!({"operation_type": kind, "parameters": parameters, "health_check": check})
    };
    let off = json!({"name": "off", "operation_type": "shutdown"});
    let timed = |seconds: i64| json!({"operation_type": "run_script", "parameters": {"script": "true"}, "timeout_seconds": seconds});
    vec![
        ("an unknown type", operation("format_disk", json!({}))),
        ("no script", script(json!({}))),
        ("an empty script", script(json!({"script": ""}))),
        ("a NUL in a script", script(json!({"script": "a\0b"}))),
        (
            "an extra parameter",
            script(json!({"script": "true", "shell": "sh"})),
        ),
        (
            "LD_PRELOAD",
            script(json!({"script": "true", "env": {"LD_PRELOAD": "/x.so"}})),
        ),
        (
            "an equals sign in a name",
            script(json!({"script": "true", "env": {"A=B": "1"}})),
        ),
        (
            "a relative path",
            file(json!({"path": "etc/x", "content": ""})),
        ),
        (
            "a path with ..",
            file(json!({"path": "/etc/../x", "content": ""})),
        ),
        (
            "a path with NUL",
            file(json!({"path": "/etc/\0", "content": ""})),
        ),
        (
            "a setuid mode",
            file(json!({"path": "/etc/x", "content": "", "mode": "4755"})),
        ),
        (
            "mode 999",
            file(json!({"path": "/etc/x", "content": "", "mode": "999"})),
        ),
        (
            "bad base64",
            file(json!({"path": "/etc/x", "content_base64": "a*b"})),
        ),
        (
            "two contents",
            file(json!({"path": "/etc/x", "content": "", "content_base64": ""})),
        ),
        ("no content", file(json!({"path": "/etc/x"}))),
        ("a package that is an option", install("--root=/")),
        ("a package with spaces", install("a b")),
        (
            "no packages",
            operation("install_package", json!({"packages": []})),
        ),
        (
            "a service with a command",
            operation(
                "service_control",
                json!({"service": "x;reboot", "action": "stop"}),
            ),
        ),
        (
            "a service without an action",
            operation("service_control", json!({"service": "x"})),
        ),
        ("timeout 0", timed(0)),
        ("timeout -1", timed(-1)),
        ("timeout 10^12", timed(1_000_000_000_000)),
        (
            "a plan in a plan",
            operation("apply_deployment_plan", json!({"steps": [nested]})),
        ),
        (
            "an empty plan",
            operation("apply_deployment_plan", json!({"steps": []})),
        ),
        (
            "a plan of 1,001 steps",
            operation("apply_deployment_plan", json!({"steps": many})),
        ),
        (
            "a step after a shutdown",
            operation("apply_deployment_plan", json!({"steps": [off, step]})),
        ),
        (
            "a health check without a script",
            checked("run_script", json!({"retries": 1})),
        ),
        (
            "a health check that is a text",
            checked("run_script", json!("true")),
        ),
        (
            "a health check of two days",
            checked("reboot", json!({"script": "true", "soak_seconds": 172_800})),
        ),
        (
            "a negative number of retries",
            checked("run_script", json!({"script": "true", "retries": -1})),
        ),
        (
            "a health check of a host that is off",
            checked("shutdown", json!({"script": "true"})),
        ),
    ]
}

#[test]
fn invalid_operations_are_refused_with_a_place_and_a_code() {
    let fleet = community();
    let host = enrolled_host(&fleet, "a");
    for (what, body) in refused() {
        let answer = fleet.admin.post(&format!("/hosts/{host}/commands"), &body);
        assert_eq!(answer.status, 422, "{what}: {}", answer.text());
        let found = violations(&answer);
        assert!(!found.is_empty(), "{what}: {}", answer.text());
        for (pointer, code) in &found {
            assert!(pointer.starts_with('/'), "{what}: {pointer}");
            let known = code.starts_with("operation-") || code == "unknown-field";
            assert!(known, "{what}: {code}");
        }
    }
    assert_eq!(
        fleet.admin.all(&format!("/hosts/{host}/commands")),
        Vec::<Value>::new()
    );
}

#[test]
fn a_host_that_is_not_approved_gets_no_command() {
    let fleet = community();
    let token = fleet.admin.enrollment_token(1, false, &[]);
    let crowd = Crowd::new(fleet.server.agent_listen, Duration::from_secs(10));
    let host = crowd.enroll(&token, "p", 1).remove(0).host_id;
    let script = fleetwright_tests::client::script("true");
    let answer = fleet
        .admin
        .post(&format!("/hosts/{host}/commands"), &script);
    super::assert_problem(&answer, 409, "host-not-approved", "a pending host");
}
