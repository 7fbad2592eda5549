//! What operations do on a host, and what is known of them afterwards.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetwright_tests::client::{number, text};
use fleetwright_tests::wait::{PATIENCE, wait_until};
use serde_json::{Value, json};
use sha2::Digest as _;

use super::fleet_of_one;

fn decoded(stream: &Value, part: &str) -> Vec<u8> {
    STANDARD.decode(text(stream, part)).unwrap()
}

#[test]
fn a_script_runs_exactly_as_given_and_its_result_is_kept() {
    let (fleet, host) = fleet_of_one();
    let body = json!({"operation_type": "run_script", "parameters": {
        "script": "printf '%s|' \"$GREETING\" \"$1\" \"$2\"; cat; echo oops >&2; exit 7",
        "args": ["a b", "$(id)"],
        "env": {"GREETING": "héllo; rm -rf /nothing"},
        "stdin": "from stdin\n",
    }});
    let id = fleet.admin.run_on_host(&host, &body);
    let done = fleet.admin.wait_command(&id);
    assert_eq!(
        (&done["status"], &done["reason"]),
        (&json!("failed"), &json!("exit_code"))
    );
    assert_eq!(done["exit_code"], 7);
    let output = fleet
        .admin
        .get(&format!("/commands/{id}/output"))
        .expect(200);
    let expected = "héllo; rm -rf /nothing|a b|$(id)|from stdin\n";
    assert_eq!(
        String::from_utf8(decoded(&output["stdout"], "head")).unwrap(),
        expected
    );
    assert_eq!(decoded(&output["stderr"], "head"), b"oops\n");
    let digest = hex::encode(sha2::Sha256::digest(expected));
    assert_eq!(text(&output["stdout"], "sha256"), digest);
}

#[test]
fn long_output_keeps_its_ends_its_size_and_its_digest() {
    let (fleet, host) = fleet_of_one();
    // 5 MiB of numbered lines: more than head and tail together keep.
    let script = "i=0; while [ $i -lt 81920 ]; do printf '%063d\\n' $i; i=$((i+1)); done";
    let done = fleet.run_script(&host, script);
    assert_eq!(done["status"], "succeeded", "{done}");
    let id = text(&done, "id");
    let output = fleet
        .admin
        .get(&format!("/commands/{id}/output"))
        .expect(200);
    let stdout = &output["stdout"];
    assert_eq!(number(stdout, "total_bytes"), 5 * 1024 * 1024);
    assert_eq!(stdout["truncated"], true);
    let whole: String = (0..81_920).map(|line| format!("{line:063}\n")).collect();
    let (head, tail) = (decoded(stdout, "head"), decoded(stdout, "tail"));
    assert_eq!((head.len(), tail.len()), (1024 * 1024, 1024 * 1024));
    assert!(whole.as_bytes().starts_with(&head), "another beginning");
    assert!(whole.as_bytes().ends_with(&tail), "another end");
    assert_eq!(
        text(stdout, "sha256"),
        hex::encode(sha2::Sha256::digest(&whole))
    );
}

#[test]
fn a_file_is_written_byte_by_byte_and_an_unchanged_one_is_left_alone() {
    let (fleet, host) = fleet_of_one();
    let target = fleet.path("deployed.bin");
    let content: Vec<u8> = (0..=255).collect();
    let body = json!({"operation_type": "deploy_file", "parameters": {
        "path": target, "content_base64": STANDARD.encode(&content), "mode": "0640",
    }});
    let mut changes = Vec::new();
    for _ in 0..2 {
        let id = fleet.admin.run_on_host(&host, &body);
        let done = fleet.admin.wait_command(&id);
        assert_eq!(done["status"], "succeeded", "{done}");
        changes.push(done["changed"].clone());
    }
    assert_eq!(changes, [json!(true), json!(false)]);
    assert_eq!(std::fs::read(&target).unwrap(), content);
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&target).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
}

#[test]
fn a_dry_run_touches_nothing() {
    let (fleet, host) = fleet_of_one();
    let target = fleet.path("never");
    let body = json!({"operation_type": "deploy_file", "dry_run": true, "parameters": {
        "path": target, "content": "x",
    }});
    let id = fleet.admin.run_on_host(&host, &body);
    let done = fleet.admin.wait_command(&id);
    assert_eq!(
        (&done["status"], &done["changed"]),
        (&json!("succeeded"), &json!(true)),
        "{done}"
    );
    assert!(!target.exists());
}

#[test]
fn a_timeout_ends_the_whole_tree_before_it_is_reported() {
    let (fleet, host) = fleet_of_one();
    let alive = fleet.path("alive");
    // A grandchild in its own session tries to outlive the script.
    let script = format!(
        "setsid sh -c 'while :; do date +%s%N > {0}; sleep 0.05; done' & sleep 600",
        alive.display()
    );
    let body = json!({"operation_type": "run_script", "parameters": {"script": script}, "timeout_seconds": 5});
    let id = fleet.admin.run_on_host(&host, &body);
    let done = fleet.admin.wait_command(&id);
    assert_eq!(
        (&done["status"], &done["reason"]),
        (&json!("failed"), &json!("timed_out")),
        "{done}"
    );
    let stamp = std::fs::read_to_string(&alive).unwrap();
    fleetwright_tests::wait::holds_throughout(
        "the grandchild to be dead",
        std::time::Duration::from_millis(500),
        || std::fs::read_to_string(&alive).unwrap() == stamp,
    );
}

#[test]
fn commands_of_one_host_run_in_order_one_at_a_time() {
    let (fleet, host) = fleet_of_one();
    let log = fleet.path("order");
    let ids: Vec<String> = (0..5)
        .map(|turn| {
            let script = format!(
                "echo start {turn} >> {0}; sleep 0.05; echo end {turn} >> {0}",
                log.display()
            );
            fleet
                .admin
                .run_on_host(&host, &fleetwright_tests::client::script(&script))
        })
        .collect();
    for id in &ids {
        assert_eq!(fleet.admin.wait_command(id)["status"], "succeeded");
    }
    let expected: String = (0..5)
        .map(|turn| format!("start {turn}\nend {turn}\n"))
        .collect();
    assert_eq!(std::fs::read_to_string(log).unwrap(), expected);
}

#[test]
fn a_local_policy_refuses_what_it_forbids() {
    let mut fleet = fleetwright_tests::fleet::Setup::community().start();
    let token = fleet.admin.enrollment_token(1, true, &[]);
    let policy = "policy = { allow_operations = [\"deploy_file\"] }";
    let host = fleet.add_agent_with("strict.test", &token, policy);
    let done = fleet.run_script(&host, "true");
    let expected = (&json!("failed"), &json!("refused_by_policy"));
    assert_eq!((&done["status"], &done["reason"]), expected, "{done}");
}

#[test]
fn what_this_agent_cannot_do_is_never_a_success() {
    let (fleet, host) = fleet_of_one();
    let step = json!({"name": "one", "operation_type": "reboot"});
    // No package or service manager here, and the power commands answer no.
    let unsupported = ("skipped", "unsupported");
    let refused = ("failed", "exit_code");
    for (kind, parameters, expected) in [
        (
            "install_package",
            json!({"packages": ["nginx"]}),
            unsupported,
        ),
        (
            "remove_package",
            json!({"packages": ["nginx"]}),
            unsupported,
        ),
        (
            "service_control",
            json!({"service": "nginx", "action": "restart"}),
            unsupported,
        ),
        ("reboot", json!({}), refused),
        ("shutdown", json!({}), refused),
        ("apply_deployment_plan", json!({"steps": [step]}), refused),
    ] {
        let body = json!({"operation_type": kind, "parameters": parameters, "timeout_seconds": 5});
        let id = fleet.admin.run_on_host(&host, &body);
        let done = fleet.admin.wait_command(&id);
        let found = (done["status"].as_str(), done["reason"].as_str());
        assert_eq!(
            found,
            (Some(expected.0), Some(expected.1)),
            "{kind}: {done}"
        );
    }
}

#[test]
fn live_output_arrives_while_the_script_runs() {
    let (fleet, host) = fleet_of_one();
    let go = fleet.path("go");
    let script = format!(
        "echo first; while [ ! -e {} ]; do sleep 0.02; done; echo last",
        go.display()
    );
    let id = fleet
        .admin
        .run_on_host(&host, &fleetwright_tests::client::script(&script));
    wait_until("the script to run", PATIENCE, || {
        fleet.admin.get(&format!("/commands/{id}")).expect(200)["status"] == "running"
    });
    let mut events = fleet
        .admin
        .events(&format!("/commands/{id}/output?follow=true"));
    std::fs::write(&go, "").unwrap();
    let mut all = String::new();
    while let Some(event) = events.next_event().unwrap() {
        all.push_str(&event.kind);
        all.push(' ');
        all.push_str(&event.data);
        all.push('\n');
    }
    assert!(
        all.contains(&STANDARD.encode("last\n")) || all.contains("last"),
        "{all}"
    );
}

#[test]
fn a_plan_outlives_a_restart_of_its_host_and_every_step_is_shown() {
    let (mut fleet, host) = fleet_of_one();
    let (told, path, marks) = (
        fleet.path("told"),
        fleet.path("made/file"),
        fleet.path("marks"),
    );
    let agent = fleet.agent("one.test");
    agent.stop();
    // A command that takes note instead of restarting anything.
    let note = format!("reboot_command = [\"/bin/cp\", \"/dev/null\", {told:?}]");
    agent.reconfigure("reboot_command = [\"/bin/false\"]", &note);
    agent.run();
    fleet.admin.wait_online(&host);
    let mark = |name: &str| {
        json!({"name": name, "operation_type": "run_script",
            "parameters": {"script": format!("echo {name} >> {}", marks.display())}})
    };
    let body = json!({
        "operation_type": "apply_deployment_plan",
        "parameters": {"steps": [
            {"name": "config", "operation_type": "deploy_file",
             "parameters": {"path": path, "content": "new", "create_parents": true}},
            mark("before"),
            {"name": "restart", "operation_type": "reboot", "when": {"changed": "config"}},
            mark("after"),
        ]},
        "health_check": {"script": format!("test $(wc -l < {}) = 2", marks.display()), "soak_seconds": 1},
    });
    let id = fleet.admin.run_on_host(&host, &body);
    wait_until("the host to be told", PATIENCE, || told.exists());
    let agent = fleet.agent("one.test");
    agent.kill();
    std::fs::write(agent.settings.folder.join("boot_id"), "another-boot\n").unwrap();
    agent.run();
    let done = fleet.admin.wait_command(&id);
    assert_eq!(
        (&done["status"], &done["changed"]),
        (&json!("succeeded"), &json!(true)),
        "{done}"
    );
    let steps = done["details"]["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 4);
    assert!(
        steps.iter().all(|step| step["status"] == "succeeded"),
        "{done}"
    );
    assert_eq!(
        done["details"]["health_check"]["status"], "succeeded",
        "{done}"
    );
    assert_eq!(std::fs::read_to_string(&marks).unwrap(), "before\nafter\n");
}

#[test]
fn a_host_that_is_not_well_after_its_operation_has_failed() {
    let (fleet, host) = fleet_of_one();
    let body = json!({
        "operation_type": "run_script", "parameters": {"script": "echo out"},
        // Longer than the operation may take: the check has its own time.
        "timeout_seconds": 4, "health_check": {"script": "sleep 4.5; exit 5"},
    });
    let id = fleet.admin.run_on_host(&host, &body);
    let done = fleet.admin.wait_command(&id);
    let found = (&done["status"], &done["reason"], &done["exit_code"]);
    assert_eq!(
        found,
        (&json!("failed"), &json!("exit_code"), &json!(5)),
        "{done}"
    );
    assert_eq!(
        text(&done, "message"),
        "the health check failed (1 of 1 tries): exited with code 5"
    );
    let output = fleet
        .admin
        .get(&format!("/commands/{id}/output"))
        .expect(200);
    assert_eq!(decoded(&output["stdout"], "head"), b"out\n");
}
