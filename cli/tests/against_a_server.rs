//! The built program against canned answers: what it asks, what it shows, how it exits.

mod server;

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use server::{Answer, Asked, Server};

const BULK: &str = "0190d1f0-0000-7000-8000-000000000001";
const WEB_1: &str = "0190d1f0-0000-7000-8000-000000000011";
const WEB_2: &str = "0190d1f0-0000-7000-8000-000000000012";

fn fleetwright(server: &Server, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fleetwright"))
        .args(words)
        .env("FLEETWRIGHT_SERVER", &server.url)
        .env("FLEETWRIGHT_TOKEN", "secret-token")
        .env("FLEETWRIGHT_CONFIG", "/nonexistent/config.toml")
        .stdin(Stdio::null())
        .output()
        .expect("runs")
}

fn json_answer(status: u16, body: &Value) -> Answer {
    (status, "application/json", body.to_string())
}

fn not_found() -> Answer {
    json_answer(
        404,
        &json!({"status": 404, "code": "not-found", "detail": "not there"}),
    )
}

fn counters(status: &str, succeeded: u64, failed: u64, running: u64) -> Value {
    json!({"id": BULK, "status": status, "total": 2, "succeeded": succeeded, "failed": failed, "running": running,
        "queued": 0, "skipped": 0, "percent_complete": 50.0 * (succeeded + failed) as f64})
}

/// A server on which one bulk operation ends with these per-host statuses; its first event stream breaks.
fn bulk_server(first: &'static str, second: &'static str) -> Server {
    let failed = u64::from(first == "failed") + u64::from(second == "failed");
    let end = match failed {
        0 => "succeeded",
        1 => "partial",
        _ => "failed",
    };
    Server::start(move |asked, number| match asked.line.as_str() {
        "POST /api/v1/fleet/bulk" => {
            json_answer(202, &json!({"id": BULK, "status": "queued", "total": 2}))
        }
        line if line.ends_with("/events") && number == 0 => {
            let data = counters("running", 0, 0, 2);
            (
                200,
                "text/event-stream",
                format!("id: 1\nevent: progress\ndata: {data}\n\n"),
            )
        }
        line if line.ends_with("/events") => {
            let data = counters(end, 2 - failed, failed, 0);
            (
                200,
                "text/event-stream",
                format!("id: 2\nevent: progress\ndata: {data}\n\n"),
            )
        }
        line if line.contains("/hosts?limit=") && line.contains(BULK) => {
            let row = |host: &str, status: &str, output: &str| {
                json!({"host_id": host, "status": status, "exit_code": i32::from(status == "failed"),
                    "reason": (status == "failed").then_some("exit_code"), "stdout_tail": output})
            };
            let rows = [
                row(WEB_1, first, "hello\n"),
                row(WEB_2, second, "\u{1b}[31mred\n"),
            ];
            json_answer(200, &json!({"items": rows, "next_cursor": null}))
        }
        line if line == format!("GET /api/v1/fleet/bulk/{BULK}") && number == 0 => {
            json_answer(200, &counters("running", 0, 0, 2))
        }
        line if line == format!("GET /api/v1/fleet/bulk/{BULK}") => {
            json_answer(200, &counters(end, 2 - failed, failed, 0))
        }
        line if line == format!("GET /api/v1/hosts/{WEB_1}") => {
            json_answer(200, &json!({"id": WEB_1, "fqdn": "web-1.example"}))
        }
        _ => not_found(),
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_run_that_succeeds_everywhere_exits_with_0_and_shows_each_host() {
    let server = bulk_server("succeeded", "succeeded");
    let output = fleetwright(
        &server,
        &["run", "tags contains web", "--yes", "--", "echo", "hello"],
    );
    let shown = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{shown}{}",
        text(&output.stderr)
    );
    let is_row = |line: &str| {
        line.starts_with("web-1.example ")
            && line.contains(" succeeded ")
            && line.ends_with("hello")
    };
    assert!(shown.lines().any(is_row), "{shown}");
    assert!(
        shown.contains("succeeded: 2 succeeded of 2 hosts"),
        "{shown}"
    );
    let asked = server.asked("POST /api/v1/fleet/bulk");
    let body: Value = serde_json::from_str(&asked[0].body).expect("JSON");
    assert_eq!(body["selector"], json!({"expression": "tags contains web"}));
    assert_eq!(body["parameters"]["script"], "echo hello");
    assert_eq!(
        asked[0].header("authorization"),
        Some("Bearer secret-token")
    );
}

#[test]
fn one_failed_host_makes_the_exit_code_1() {
    let output = fleetwright(
        &bulk_server("succeeded", "failed"),
        &["run", "all", "--yes", "--", "false"],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("partial: 1 succeeded, 1 failed of 2 hosts"));
}

#[test]
fn a_broken_event_stream_is_taken_up_where_it_ended() {
    let server = bulk_server("succeeded", "succeeded");
    fleetwright(&server, &["run", "all", "--yes", "--", "true"]);
    let asked = server.asked(&format!("GET /api/v1/fleet/bulk/{BULK}/events"));
    let ids: Vec<Option<&str>> = asked
        .iter()
        .map(|asked| asked.header("last-event-id"))
        .collect();
    assert_eq!(ids, [None, Some("1")]);
}

#[test]
fn what_a_host_printed_cannot_drive_the_terminal() {
    let output = fleetwright(
        &bulk_server("succeeded", "succeeded"),
        &["run", "all", "--yes", "--", "true"],
    );
    assert!(!output.stdout.contains(&0x1b), "{}", text(&output.stdout));
}

#[test]
fn json_output_is_one_document_with_every_host() {
    let output = fleetwright(
        &bulk_server("failed", "failed"),
        &["run", "all", "--yes", "-o", "json", "--", "false"],
    );
    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(document["operation"]["status"], "failed");
    assert_eq!(document["hosts"].as_array().map(Vec::len), Some(2));
}

#[test]
fn without_a_terminal_and_without_yes_nothing_is_started() {
    let server = Server::start(|asked: &Asked, _| match asked.line.as_str() {
        "POST /api/v1/fleet/select?count_only=true" => {
            json_answer(200, &json!({"count": 2, "digest": "sha256:00"}))
        }
        _ => not_found(),
    });
    let output = fleetwright(&server, &["run", "all", "--", "true"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("2 hosts"));
    assert!(server.asked("POST /api/v1/fleet/bulk").is_empty());
}

#[test]
fn a_feature_that_is_not_there_exits_with_4_and_says_why() {
    let server = Server::start(|_, _| {
        json_answer(
            402,
            &json!({"status": 402, "code": "feature-not-available", "title": "Feature not available",
            "feature": "fleet_bulk_operations", "module": "bulk", "reason": "module_not_installed"}),
        )
    });
    let output = fleetwright(&server, &["run", "all", "--yes", "--", "true"]);
    assert_eq!(output.status.code(), Some(4));
    let said = text(&output.stderr);
    assert!(
        said.contains("fleet_bulk_operations") && said.contains("module_not_installed"),
        "{said}"
    );
}

#[test]
fn a_creation_that_got_no_answer_is_repeated_with_the_same_key() {
    let server = Server::start(|asked, number| match (asked.line.as_str(), number) {
        ("POST /api/v1/fleet/bulk", 0) => (0, "", String::new()),
        ("POST /api/v1/fleet/bulk", _) => {
            json_answer(202, &json!({"id": BULK, "status": "queued", "total": 2}))
        }
        _ => not_found(),
    });
    let output = fleetwright(&server, &["run", "all", "--yes", "--detach", "--", "true"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let asked = server.asked("POST /api/v1/fleet/bulk");
    let keys: Vec<Option<&str>> = asked
        .iter()
        .map(|asked| asked.header("idempotency-key"))
        .collect();
    assert_eq!(keys.len(), 2);
    assert!(keys[0].is_some() && keys[0] == keys[1], "{keys:?}");
}

#[test]
fn a_list_is_read_page_after_page() {
    let server = Server::start(|asked, _| match asked.line.as_str() {
        "GET /api/v1/hosts?limit=500" => json_answer(
            200,
            &json!({"items": [{"id": "1", "fqdn": "one"}], "next_cursor": "c"}),
        ),
        "GET /api/v1/hosts?limit=499&cursor=c" => json_answer(
            200,
            &json!({"items": [{"id": "2", "fqdn": "two"}], "next_cursor": null}),
        ),
        _ => not_found(),
    });
    let output = fleetwright(&server, &["hosts", "list", "--limit", "500", "-o", "json"]);
    let hosts: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(hosts.as_array().map(Vec::len), Some(2));
}

#[test]
fn a_licence_that_was_issued_is_accepted_with_its_key_and_no_other() {
    let folder = std::env::temp_dir().join(format!("fleetwright-vendor-{}", std::process::id()));
    let path = |name: &str| folder.join(name).display().to_string();
    let server = Server::start(|_, _| not_found());
    let run = |words: &[&str]| fleetwright(&server, words);
    assert!(
        run(&["license", "keygen", "--out", &path("ours")])
            .status
            .success()
    );
    assert!(
        run(&["license", "keygen", "--out", &path("theirs")])
            .status
            .success()
    );
    let (key, license) = (path("ours/vendor.key"), path("license.jwt"));
    let issue = [
        "license",
        "issue",
        "--customer",
        "Example",
        "--feature",
        "fleet_groups",
        "--days",
        "30",
    ];
    assert!(
        run(&[&issue[..], &["--key", &key, "--out", &license]].concat())
            .status
            .success()
    );
    let inspect = |key: &str| run(&["license", "inspect", &license, "--key", &path(key)]);
    let (good, bad) = (inspect("ours/vendor.pub"), inspect("theirs/vendor.pub"));
    std::fs::remove_dir_all(&folder).expect("cleans up");
    assert!(
        text(&good.stdout).contains("fleet_groups"),
        "{}",
        text(&good.stderr)
    );
    assert_eq!(bad.status.code(), Some(3));
}

#[test]
fn an_expired_session_is_renewed_once_and_remembered() {
    let server = Server::start(|asked, _| {
        let is_fresh = asked.header("authorization") == Some("Bearer fresh");
        match asked.line.as_str() {
            "POST /api/v1/auth/refresh" if asked.body.contains("once-only") => json_answer(
                200,
                &json!({"access_token": "fresh", "refresh_token": "next"}),
            ),
            "GET /api/v1/hosts?limit=500" if is_fresh => {
                json_answer(200, &json!({"items": [], "next_cursor": null}))
            }
            _ => json_answer(401, &json!({"status": 401, "code": "unauthenticated"})),
        }
    });
    let file =
        std::env::temp_dir().join(format!("fleetwright-session-{}.toml", std::process::id()));
    let session = format!(
        "server = {:?}\ntoken = \"old\"\nrefresh_token = \"once-only\"\n",
        server.url
    );
    std::fs::write(&file, session).expect("written");
    let list = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleetwright"));
        let words = ["--config", &file.display().to_string(), "hosts", "list"];
        command
            .args(words)
            .env_remove("FLEETWRIGHT_TOKEN")
            .stdin(Stdio::null())
            .output()
            .expect("runs")
    };
    let (first, second) = (list(), list());
    let kept = std::fs::read_to_string(&file).expect("is there");
    for left in [&file, &file.with_extension("lock")] {
        std::fs::remove_file(left).expect("cleans up");
    }
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert!(second.status.success(), "{}", text(&second.stderr));
    assert!(
        kept.contains("\"fresh\"") && kept.contains("\"next\""),
        "{kept}"
    );
    assert_eq!(server.asked("POST /api/v1/auth/refresh").len(), 1);
}

#[test]
fn a_schedule_is_made_of_a_command_and_disabled_without_losing_a_field() {
    let known = json!({
        "id": BULK, "revision": 3, "name": "nightly", "cron": "@daily", "timezone": "UTC", "enabled": true,
        "kind": "bulk", "operation_type": "run_script", "selector": {"tags": ["web"]},
        "parameters": {"script": "uptime"}, "options": {"timeout_seconds": 60}, "overlap_policy": "forbid",
        "misfire_policy": "skip", "jitter_seconds": 5, "starts_at": null, "ends_at": null, "created_at": "x",
    });
    let shown = known.clone();
    let server = Server::start(move |asked, _| match asked.line.as_str() {
        "POST /api/v1/fleet/schedules" => json_answer(201, &shown),
        "GET /api/v1/fleet/schedules?name=nightly&limit=1" => {
            json_answer(200, &json!({"items": [shown], "next_cursor": null}))
        }
        line if line.ends_with(BULK) => json_answer(200, &shown),
        _ => not_found(),
    });
    let words = [
        "schedules",
        "create",
        "nightly",
        "--cron",
        "@daily",
        "--select",
        "tags contains web",
        "--timeout",
        "60",
        "--option",
        "max_concurrency=2",
        "--misfire",
        "skip",
        "--",
        "uptime",
    ];
    let output = fleetwright(&server, &words);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let body = |line: &str| -> (Asked, Value) {
        let asked = server.asked(line).remove(0);
        let body = serde_json::from_str(&asked.body).expect("JSON");
        (asked, body)
    };
    let (asked, made) = body("POST /api/v1/fleet/schedules");
    assert!(asked.header("idempotency-key").is_some());
    assert_eq!(made["parameters"], json!({"script": "uptime"}));
    assert_eq!(
        made["options"],
        json!({"timeout_seconds": 60, "max_concurrency": 2})
    );
    assert_eq!(
        (&made["misfire_policy"], &made["enabled"]),
        (&json!("skip"), &json!(true))
    );

    let output = fleetwright(&server, &["schedules", "disable", "nightly"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (asked, changed) = body(&format!("PUT /api/v1/fleet/schedules/{BULK}"));
    assert_eq!(asked.header("if-match"), Some("\"3\""));
    let mut expected = known.clone();
    expected["enabled"] = json!(false);
    for gone in ["id", "revision", "created_at"] {
        expected.as_object_mut().expect("an object").remove(gone);
    }
    assert_eq!(changed, expected);
}
