//! Twenty real agents, batch after batch, with failures that the scripts make.

use fleetwright_tests::client::{number, text};
use fleetwright_tests::databases::Engine;
use fleetwright_tests::wait::{PATIENCE, wait_for};
use serde_json::json;

use super::{Site, trace, view, wait_over, wait_status};

const AGENTS: usize = 20;

#[test]
fn twenty_agents_go_batch_by_batch_and_halt_exactly_at_the_threshold() {
    let site = Site::new(Engine::Sqlite, AGENTS);
    let admin = &site.fleet.admin;
    // Threshold, failing hosts, those that start, the end. Batches of 5, so the fifth failure ends the first batch.
    let cases = [
        (20, 0, 20, "succeeded"),
        (20, 4, 20, "partial"),
        (20, 5, 5, "failed"),
        (0, 1, 5, "failed"),
        (100, 20, 20, "failed"),
    ];
    for (threshold, failing, starting, status) in cases {
        let run = format!("t{threshold}f{failing}");
        let more = json!({"batch_size": 5, "failure_threshold_pct": threshold});
        let halts = status == "failed" && starting < AGENTS;
        let starts = if halts { starting } else { 0 };
        let script = site.script_failing_late(&run, &site.names[..failing], starts);
        let id = site.deploy(&Site::body_of(&script, more));
        let done = wait_over(admin, &id);
        assert_eq!(done["status"], status, "{run}: {done}");
        assert_eq!(site.started(&run), site.names[..starting], "{run}");
        assert_eq!(number(&done, "failed"), failing as u64, "{run}");
        assert_eq!(
            number(&done, "skipped"),
            (AGENTS - starting) as u64,
            "{run}"
        );
        let mut expected = vec!["queued running batch_dispatched".to_owned()];
        if halts {
            expected.push("running halting failure_threshold_passed".to_owned());
            expected.push("halting failed drained".to_owned());
        } else {
            expected.push(format!("running {status} all_hosts_finished"));
        }
        assert_eq!(trace(admin, &id), expected, "{run}");
        if halts {
            let skipped = admin.all(&format!("/fleet/rolling/{id}/hosts?status=skipped"));
            assert!(skipped.iter().all(|host| host["reason"] == "halted"));
        }
        batches_do_not_overlap(&site, &run);
    }
}

/// Whatever of a batch ended, ended before anything of the next began.
fn batches_do_not_overlap(site: &Site, run: &str) {
    let batch_of = |host: &str| {
        site.names
            .iter()
            .position(|name| name == host)
            .expect("a known host")
            / 5
    };
    let notes = site.notes(run);
    for end in notes.iter().filter(|note| !note.started) {
        for start in notes
            .iter()
            .filter(|note| note.started && batch_of(&note.host) > batch_of(&end.host))
        {
            assert!(
                start.at_ns >= end.at_ns,
                "{run}: {start:?} began before {end:?}"
            );
        }
    }
}

#[test]
fn a_rollback_runs_where_it_had_started_in_reverse() {
    let site = Site::new(Engine::Sqlite, 6);
    let admin = &site.fleet.admin;
    let undo =
        json!({"operation_type": "run_script", "parameters": {"script": site.script("undo", &[])}});
    let more = json!({"batch_size": 2, "failure_threshold_pct": 0, "rollback": undo});
    let script = site.script_failing_late("do", &site.names[3..4], 4);
    let id = site.deploy(&Site::body_of(&script, more));
    let done = wait_over(admin, &id);
    assert_eq!(
        (
            done["status"].as_str(),
            number(&done["rollback"], "succeeded")
        ),
        (Some("rolled_back"), 4),
        "{done}"
    );
    assert_eq!(site.started("undo"), site.names[..4]);
    let last_of_second = site
        .notes("undo")
        .into_iter()
        .filter(|note| !note.started && note.host >= site.names[2])
        .map(|note| note.at_ns)
        .max();
    let first_of_first = site
        .notes("undo")
        .into_iter()
        .filter(|note| note.started && note.host < site.names[2])
        .map(|note| note.at_ns)
        .min();
    assert!(
        last_of_second <= first_of_first,
        "the rollback is not in reverse"
    );
    let hosts = admin.all(&format!("/fleet/rolling/{id}/hosts"));
    let told: Vec<(Option<&str>, Option<&str>)> = hosts
        .iter()
        .map(|host| (host["status"].as_str(), host["rollback"]["status"].as_str()))
        .collect();
    assert_eq!(
        told[3..],
        [
            (Some("failed"), Some("succeeded")),
            (Some("skipped"), None),
            (Some("skipped"), None)
        ]
    );
}

#[test]
fn a_host_that_does_not_come_is_unreachable_and_approvals_and_pauses_are_waited_for() {
    let mut site = Site::new(Engine::Sqlite, 3);
    let away = site.names[2].clone();
    site.fleet.agent(&away).stop();
    let admin = site.fleet.admin.clone();
    wait_for("the host to be offline", PATIENCE, || {
        (admin.host_named(&away)?["status"] == "offline").then_some(())
    });
    let more = json!({"batches": [1, "100%"], "require_approval": "first", "host_wait_seconds": 8,
        "failure_threshold_pct": 0, "count_unreachable": false});
    let id = site.deploy(&site.body("come", &[], more));
    wait_status(&admin, &id, "awaiting_approval");
    assert_eq!(site.started("come"), site.names[..1]);
    let path = |verb: &str| format!("/fleet/rolling/{id}/{verb}");
    assert_eq!(
        admin.post(&path("approve"), &json!({"batch": 3})).status,
        409
    );
    admin.post(&path("pause"), &json!({})).expect(200);
    assert_eq!(
        admin.post(&path("approve"), &json!({"batch": 2})).status,
        409,
        "it is paused"
    );
    assert_eq!(
        admin.post(&path("resume"), &json!({})).expect(200)["status"],
        "awaiting_approval"
    );
    admin
        .post(&path("approve"), &json!({"batch": 2}))
        .expect(200);
    let done = wait_over(&admin, &id);
    assert_eq!(
        (done["status"].as_str(), number(&done, "failed")),
        (Some("partial"), 1),
        "{done}"
    );
    let failed = admin.all(&format!("/fleet/rolling/{id}/hosts?status=failed"));
    assert_eq!(
        (text(&failed[0], "reason"), number(&failed[0], "batch")),
        ("unreachable".to_owned(), 2)
    );
    let late = admin.post(&path("resume"), &json!({}));
    assert_eq!(
        (late.status, late.code().as_str()),
        (409, "invalid-transition")
    );
    assert!(view(&admin, &id)["finished_at"].is_string());
}
