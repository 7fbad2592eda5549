//! Health checks after operations.

use fleetwright_protocol::frame::CommandFrame;
use fleetwright_protocol::outcome::FailureReason;
use serde_json::{Value, json};

use super::{restartable, run, succeeded, told, wait_until_told};
use crate::harness::{Host, command, stdout};

fn checked(text: &str, check: Value) -> CommandFrame {
    let mut wanted = command(
        json!({"operation_type": "run_script", "parameters": {"script": text},
        "options": {"health_check": check}}),
    );
    let options = serde_json::from_value(wanted.operation["options"].clone()).unwrap();
    wanted.timeout_seconds = fleetwright_protocol::time_limit::run_seconds(300, &options);
    wanted
}

#[test]
fn a_host_succeeds_only_if_its_health_check_passes() {
    let host = Host::new();
    let mut agent = host.start();
    let tries = host.path("tries");
    let third = format!(
        "echo x >> {0}; echo try; test $(wc -l < {0}) -ge 3",
        tries.display()
    );
    let check = json!({"script": third, "retries": 3, "interval_seconds": 0});
    let good = run(&mut agent, &checked("echo out; exit 0", check.clone()));
    assert!(succeeded(&good) && good.changed, "{good:?}");
    assert_eq!((stdout(&good).as_str(), good.exit_code), ("out\n", Some(0)));
    let shown = &good.details.as_ref().unwrap()["health_check"];
    assert_eq!(
        (&shown["status"], &shown["tries"]),
        (&json!("succeeded"), &json!(3))
    );
    assert_eq!(shown["output_tail"], "try\n");
    // Not well.
    let bad = run(
        &mut agent,
        &checked(
            "true",
            json!({"script": "echo sick >&2; exit 4", "retries": 1, "interval_seconds": 0}),
        ),
    );
    assert_eq!(
        (bad.reason, bad.exit_code),
        (Some(FailureReason::ExitCode), Some(4))
    );
    assert_eq!(
        bad.message,
        "the health check failed (2 of 2 tries): exited with code 4"
    );
    assert!(bad.changed);
    // A try that hangs is ended; an operation that fails is not checked.
    let hangs = run(
        &mut agent,
        &checked(
            "true",
            json!({"script": "sleep 1000", "timeout_seconds": 1}),
        ),
    );
    assert_eq!(hangs.reason, Some(FailureReason::ExitCode), "{hangs:?}");
    std::fs::remove_file(&tries).unwrap();
    let failed = run(&mut agent, &checked("exit 9", check));
    assert_eq!((failed.exit_code, tries.exists()), (Some(9), false));
    assert!(failed.details.is_none());
}

#[test]
fn a_restarted_host_is_checked_when_it_is_back() {
    for (check, good) in [("true", true), ("exit 1", false)] {
        let host = restartable();
        let mut agent = host.start();
        let wanted = command(json!({"operation_type": "reboot", "parameters": {},
            "options": {"health_check": {"script": check, "soak_seconds": 1}}}));
        agent.command(&wanted);
        agent.started(&wanted);
        wait_until_told(&host, &wanted, 1);
        agent.die();
        host.reboot();
        let mut agent = host.start();
        let outcome = agent.finished(&wanted);
        assert_eq!(succeeded(&outcome), good, "{outcome:?}");
        assert!(outcome.changed);
        assert_eq!(
            outcome.details.as_ref().unwrap()["health_check"]["tries"],
            1
        );
        assert_eq!(told(&host).len(), 1);
    }
}
