//! An agent without root: what it may do it does, and what needs root it refuses with the reason and leaves undone.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use fleetwright_protocol::Outcome;
use fleetwright_protocol::outcome::{FailureReason, OutcomeStatus};
use serde_json::{Value, json};

use crate::harness::{Host, PROGRAM, copy_program, stdout};

/// Debian's `nobody`, and an account of no name would do as well.
const NOBODY: u32 = 65_534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whoever the agent runs as: nobody, or these tests' own account if that is not root.
fn user() -> u32 {
    if is_root() {
        NOBODY
    } else {
        rustix::process::geteuid().as_raw()
    }
}

/// A host whose agent is not root.
fn host() -> Host {
    let host = Host::new();
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(host.folder.path(), 0o755);
    for name in ["data", "own"] {
        std::fs::create_dir_all(host.path(name)).unwrap();
        if is_root() {
            chown(host.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    std::fs::create_dir(host.path("closed")).unwrap();
    mode(&host.path("closed"), 0o555);
    // The folder of the build may be closed to others.
    copy_program(Path::new(PROGRAM), &host.path("agent"));
    mode(&host.path("agent"), 0o755);
    host
}

/// `exec` as that account.
fn exec(host: &Host, operation: &Value) -> Outcome {
    let user = user().to_string();
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
        command.arg(host.path("agent"));
        command
    } else {
        Command::new(host.path("agent"))
    };
    let mut agent = command
        .arg("--config")
        .arg(host.path("agent.toml"))
        .args(["exec", "--json", "-"])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = agent.stdin.take().unwrap();
    stdin.write_all(operation.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = agent.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn deploy(path: &Path, more: &Value) -> Value {
    let mut parameters = json!({"path": path, "content": "x"});
    for (key, value) in more.as_object().unwrap() {
        parameters[key] = value.clone();
    }
    json!({"operation_type": "deploy_file", "parameters": parameters})
}

#[test]
fn an_unprivileged_agent_does_what_it_may_and_refuses_the_rest_untouched() {
    let host = host();
    let script = |run_as: Value| json!({"operation_type": "run_script", "parameters": {"script": "id -u"}, "options": {"run_as": run_as}});
    let own = exec(&host, &script(Value::Null));
    assert_eq!(
        (own.status, stdout(&own)),
        (OutcomeStatus::Succeeded, format!("{}\n", user()))
    );
    let (mine, closed) = (host.path("own/file"), host.path("closed/file"));
    let done = exec(&host, &deploy(&mine, &json!({})));
    assert!(
        done.status == OutcomeStatus::Succeeded && done.changed,
        "{done:?}"
    );
    let others = json!({"name": "others", "operation_type": "deploy_file",
        "parameters": {"path": closed, "content": "x"}, "on_failure": "rollback"});
    let first = json!({"name": "mine", "operation_type": "deploy_file", "parameters": {"path": mine, "content": "y"}});
    let plan = json!({"operation_type": "apply_deployment_plan", "parameters": {"steps": [first, others]}});
    for (operation, why) in [
        (script(json!("root")), "needs an agent that runs as root"),
        (deploy(&closed, &json!({})), "Permission denied"),
        (
            deploy(&host.path("own/other"), &json!({"owner": "root"})),
            "needs an agent that runs as root",
        ),
        (plan, "Permission denied"),
    ] {
        let refused = exec(&host, &operation);
        assert_eq!(
            refused.reason,
            Some(FailureReason::AgentError),
            "{refused:?}"
        );
        assert!(
            refused.message.contains(why) && !refused.changed,
            "{refused:?}"
        );
    }
    assert_eq!(std::fs::read_to_string(&mine).unwrap(), "x");
    assert_eq!(std::fs::read_dir(host.path("closed")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(host.path("own")).unwrap().count(), 1);
}
