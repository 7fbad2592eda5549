//! What a script gets, and what is said of its end.

use std::os::unix::fs::PermissionsExt;

use fleetwright_protocol::outcome::{FailureReason, OutcomeStatus};
use serde_json::json;

use crate::harness::{Host, command, stdout};

#[test]
fn a_script_runs_exactly_as_given_in_a_clean_place() {
    let host = Host::new();
    let mut agent = host.start();
    let run = command(json!({
        "operation_type": "run_script",
        "parameters": {
            "script": "cat; printf '%s|' \"$@\" \"$COLOUR\" \"$(pwd)\" \"$(umask)\" \"${RUST_LOG-unset}\"; echo oops >&2; exit 7",
            "args": ["a b", "*"],
            "env": {"COLOUR": "red"},
            "stdin": "typed\n",
        },
        "options": {"working_directory": "/usr", "environment": {"COLOUR": "blue"}},
    }));
    agent.command(&run);
    let outcome = agent.finished(&run);
    assert_eq!(stdout(&outcome), "typed\na b|*|red|/usr|0022|unset|");
    assert_eq!(outcome.stderr.head, b"oops\n");
    assert_eq!(
        (outcome.status, outcome.reason),
        (OutcomeStatus::Failed, Some(FailureReason::ExitCode))
    );
    assert_eq!(
        (outcome.exit_code, outcome.signal, outcome.changed),
        (Some(7), None, false)
    );
    assert_eq!(outcome.stdout.total_bytes, outcome.stdout.head.len() as u64);
    assert_eq!(outcome.stdout.sha256.len(), 64);
    let script = host.run_folder(&run).join("script");
    assert_eq!(
        std::fs::metadata(script).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[test]
fn success_is_a_change_and_the_folder_goes_with_the_acknowledgement() {
    let host = Host::new();
    let mut agent = host.start();
    let run = crate::harness::script_command("echo hi");
    agent.command(&run);
    let outcome = agent.finished(&run);
    assert_eq!(
        (outcome.status, outcome.changed, outcome.exit_code),
        (OutcomeStatus::Succeeded, true, Some(0))
    );
    assert!(host.run_folder(&run).exists());
    agent.ack(&run);
    crate::harness::wait("the folder is removed", || !host.run_folder(&run).exists());
}

#[test]
fn a_signal_is_told_from_an_exit_code() {
    let outcome = Host::new().start().run_script("kill -9 $$");
    assert_eq!((outcome.exit_code, outcome.signal), (None, Some(9)));
    assert_eq!(outcome.reason, Some(FailureReason::ExitCode));
}

#[test]
fn what_cannot_be_run_is_the_agents_error_with_the_cause() {
    let host = Host::new();
    let mut agent = host.start();
    for (parameters, options, cause) in [
        (
            json!({"script": "x", "interpreter": "/no/such/shell"}),
            json!({}),
            "/no/such/shell",
        ),
        (
            json!({"script": "x"}),
            json!({"working_directory": "/no/such/folder"}),
            "working directory",
        ),
        (
            json!({"script": "x"}),
            json!({"run_as": "no-such-account"}),
            "no account",
        ),
        (json!({"script": ""}), json!({}), "not valid"),
    ] {
        let run = command(
            json!({"operation_type": "run_script", "parameters": parameters, "options": options}),
        );
        agent.command(&run);
        let outcome = agent.finished(&run);
        assert_eq!(
            outcome.reason,
            Some(FailureReason::AgentError),
            "{outcome:?}"
        );
        assert!(outcome.message.contains(cause), "{}", outcome.message);
    }
}

#[test]
fn a_dry_run_runs_nothing() {
    let host = Host::new();
    let mut agent = host.start();
    let marker = host.path("marker");
    let run = command(json!({
        "operation_type": "run_script",
        "parameters": {"script": format!("touch {}", marker.display())},
        "options": {"dry_run": true},
    }));
    agent.command(&run);
    let outcome = agent.finished(&run);
    assert_eq!(
        (outcome.status, outcome.changed),
        (OutcomeStatus::Succeeded, true)
    );
    assert!(outcome.message.contains("would run /bin/sh"));
    assert!(!marker.exists());
}

/// As root it runs as the other account, with its groups and home; otherwise the agent says why it cannot.
#[test]
fn run_as_changes_the_account_or_is_refused() {
    let host = Host::new();
    // The account must be able to read its script.
    std::fs::set_permissions(host.folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut agent = host.start();
    let run = command(json!({
        "operation_type": "run_script",
        "parameters": {"script": "id -un; id -G; cat /proc/self/status | grep ^CapEff"},
        "options": {"run_as": "nobody"},
    }));
    agent.command(&run);
    let outcome = agent.finished(&run);
    if rustix_is_root() {
        let text = stdout(&outcome);
        assert!(text.starts_with("nobody\n65534\n"), "{outcome:?}");
        assert!(text.contains("CapEff:\t0000000000000000"), "{text}");
    } else {
        assert_eq!(outcome.reason, Some(FailureReason::AgentError));
        assert!(outcome.message.contains("root"), "{}", outcome.message);
    }
}

#[test]
fn the_policy_of_the_host_refuses_before_anything_starts() {
    let host =
        Host::with("[policy]\nallow_operations = [\"deploy_file\"]\ndeny_paths = [\"/etc\"]\n");
    let mut agent = host.start();
    let script = crate::harness::script_command("true");
    agent.command(&script);
    let outcome = agent.finished(&script);
    assert_eq!(outcome.reason, Some(FailureReason::RefusedByPolicy));
    assert!(!host.run_folder(&script).exists());
    let file = command(json!({
        "operation_type": "deploy_file",
        "parameters": {"path": "/etc/fleetwright-test", "content": "x"},
    }));
    agent.command(&file);
    assert_eq!(
        agent.finished(&file).reason,
        Some(FailureReason::RefusedByPolicy)
    );
}

#[test]
fn a_file_is_deployed_and_unknown_blobs_are_an_error() {
    let host = Host::new();
    let mut agent = host.start();
    let path = host.path("motd");
    let file = command(json!({
        "operation_type": "deploy_file",
        "parameters": {"path": path, "content": "hello", "mode": "0600"},
    }));
    agent.command(&file);
    let outcome = agent.finished(&file);
    assert_eq!(
        (outcome.status, outcome.changed),
        (OutcomeStatus::Succeeded, true),
        "{}",
        outcome.message
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"hello");
    let blob = command(json!({
        "operation_type": "deploy_file",
        "parameters": {"path": path, "blob_sha256": "0".repeat(64)},
    }));
    agent.command(&blob);
    assert_eq!(
        agent.finished(&blob).reason,
        Some(FailureReason::AgentError)
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"hello");
}

fn rustix_is_root() -> bool {
    fleetwright_agent::accounts::is_root()
}
