//! Package operations through the agent's program, with an apt of the test's own in front of every tool: one package,
//! which is there while its file is. What the managers are really asked is tested beside this, in `packages`.

use fleetwright_protocol::outcome::OutcomeStatus;
use fleetwright_protocol::{NotStartedReason, OperationType};
use serde_json::json;

use crate::harness::{Host, command, lines, write_program};

const APT: &str = r#"#!/bin/sh
state=$(dirname "$0")
case "$*" in
dpkg-query*)
    [ -e "$state/fw-one" ] || exit 1
    printf 'fw-one\tall\tno\tfw-one\tii \t1.0\n' ;;
*--simulate*|*--dry-run*|*" -s "*) echo "Remv fw-one [1.0]" ;;
*remove*|*purge*)
    echo "$*" >> "$state/calls"
    rm -f "$state/fw-one"
    echo Removing fw-one ;;
*) exit 0 ;;
esac
"#;

#[test]
fn a_package_goes_once_and_its_own_result_is_told() {
    let host = Host::with_system("", |folder| {
        vec![("package_manager", json!([folder.join("apt")]))]
    });
    write_program(&host.path("apt"), APT);
    std::fs::write(host.path("fw-one"), "").unwrap();
    let mut agent = host.start();
    let offered = &agent.hello.capabilities.operations;
    assert!(offered.contains(&OperationType::RemovePackage.into()));
    for (dry_run, changed, before) in [
        (true, true, json!("1.0")),
        (false, true, json!("1.0")),
        (false, false, json!(null)),
    ] {
        let run = command(json!({
            "operation_type": "remove_package",
            "parameters": {"packages": ["fw-one"]},
            "options": {"dry_run": dry_run},
        }));
        agent.command(&run);
        let outcome = agent.finished(&run);
        agent.ack(&run);
        assert_eq!(
            (outcome.status, outcome.changed),
            (OutcomeStatus::Succeeded, changed),
            "{outcome:?}"
        );
        let details = outcome.details.unwrap();
        assert_eq!(details["manager"], "apt");
        let package = &details["packages"][0];
        assert_eq!(
            (&package["name"], &package["before"]),
            (&json!("fw-one"), &before)
        );
        assert_eq!(host.path("fw-one").exists(), dry_run);
    }
    assert_eq!(lines(&host.path("calls")).len(), 1);
}

#[test]
fn a_host_without_a_manager_refuses_packages() {
    let host = Host::new();
    let mut agent = host.start();
    let run = command(json!({
        "operation_type": "install_package",
        "parameters": {"packages": ["fw-one"]},
    }));
    agent.command(&run);
    assert_eq!(agent.not_started(&run), NotStartedReason::Unsupported);
}
