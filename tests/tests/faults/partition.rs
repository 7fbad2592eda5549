//! Real partitions: hosts in networks of their own whose cables are pulled while commands run. TCP itself is cut off
//! here, with its own retries and time-outs, which a relay cannot show.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use fleetwright_tests::agent_process::AgentSettings;
use fleetwright_tests::client::{is_terminal, number, script, text};
use fleetwright_tests::enclosure::{Cable, enclosed};
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::seed::{Choices, rounds, seed_of};
use fleetwright_tests::wait::{PATIENCE, pause, wait_for, wait_until};
use serde_json::json;

use crate::ledger::{Ledger, overlap};

/// The silence that counts as gone, in seconds; 45 in real fleets.
const AGENT_SETTINGS: &str = "server_silent_seconds = 5\nreconnect_seconds_max = 1";

/// A server and these many hosts `h<n>.test`, each at the far end of a cable.
fn fleet(hosts: u8) -> (TestFleet, Vec<(Cable, String)>) {
    let names: Vec<String> = (1..=hosts)
        .map(|number| format!("\"10.77.{number}.1\""))
        .collect();
    let mut setup = Setup::pro()
        .with("limits = { agent_silent_seconds = 5 }")
        .with(&format!("agent_names = [{}]", names.join(", ")));
    setup.agent_host = Ipv4Addr::UNSPECIFIED.into();
    let mut fleet = setup.start();
    let token = fleet.admin.enrollment_token(hosts.into(), true, &["in"]);
    let mut cables = Vec::new();
    for number in 1..=hosts {
        let cable = Cable::lay(number, &fleet.path("cables.log"));
        let port = fleet.server.agent_listen.port();
        let settings = AgentSettings {
            server_url: format!("https://{}:{port}", cable.near_address()),
            extra: AGENT_SETTINGS.to_owned(),
            within: cable.far(),
            ..fleet.agent_settings(&format!("h{number}.test"))
        };
        let host = fleet.add_agent_of(settings, &token);
        cables.push((cable, host));
    }
    (fleet, cables)
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .count()
}

#[test]
fn a_partitioned_host_is_offline_and_its_result_arrives_once_afterwards() {
    enclosed(|| {
        let (fleet, cables) = fleet(2);
        let [(cable, away), (_, stays)] = cables.as_slice() else {
            panic!("two hosts were asked for");
        };
        let go = fleet.path("go");
        let run = |host: &str, log: &Path| {
            let text = format!(
                "echo run >> {0}; while [ ! -e {1} ]; do sleep 0.02; done; echo end >> {0}; exit 3",
                log.display(),
                go.display()
            );
            fleet.admin.run_on_host(host, &script(&text))
        };
        let logs = ["away", "stays", "later"].map(|name| fleet.path(name));
        let (on_away, on_stays) = (run(away, &logs[0]), run(stays, &logs[1]));
        wait_until("both to run", PATIENCE, || {
            lines(&logs[0]) == 1 && lines(&logs[1]) == 1
        });
        cable.pull();
        wait_until("the host to be offline", PATIENCE, || {
            fleet.admin.get(&format!("/hosts/{away}")).expect(200)["status"] == "offline"
        });
        std::fs::write(&go, "").unwrap();
        assert_eq!(fleet.admin.wait_command(&on_stays)["exit_code"], 3);
        wait_until("it to end unseen", PATIENCE, || lines(&logs[0]) == 2);
        let later = run(away, &logs[2]);
        let view = fleet.admin.get(&format!("/commands/{on_away}")).expect(200);
        assert_eq!(
            view["status"], "running",
            "what is not known is not said: {view}"
        );
        cable.plug();
        for (id, log) in [(&on_away, &logs[0]), (&later, &logs[2])] {
            let done = fleet.admin.wait_command(id);
            let found = (&done["status"], &done["exit_code"]);
            assert_eq!(found, (&json!("failed"), &json!(3)), "{done}");
            assert_eq!((number(&done, "attempt"), lines(log)), (1, 2), "{done}");
        }
    });
}

#[test]
fn cables_pulled_at_random_start_nothing_twice_and_strand_nothing() {
    enclosed(|| {
        let (fleet, cables) = fleet(3);
        let mut choices = Choices::new(seed_of("pulled cables"));
        let ledger = Ledger::new(fleet.path("ledger"));
        for round in 1..=rounds(2) {
            let limit = choices.below(3);
            let id = fleet.admin.bulk(&json!({
                "operation_type": "run_script",
                "parameters": {"script": ledger.script(round, choices.below(300))},
                "selector": {"tags": ["in"]},
                "max_concurrency": limit,
            }));
            for _ in 0..4 {
                let (cable, _) = &cables[usize::try_from(choices.below(3)).unwrap()];
                pause(Duration::from_millis(choices.below(150)));
                cable.pull();
                // Shorter than the silence, which TCP survives, or longer.
                pause(Duration::from_millis(choices.below(7_000)));
                cable.plug();
            }
            let path = format!("/fleet/bulk/{id}");
            // A command that was sent into the silence is given up by its start lease at the latest, after 90 s.
            let done = wait_for("the operation to end", Duration::from_secs(150), || {
                let view = fleet.admin.get(&path).expect(200);
                is_terminal(&view).then_some(view)
            });
            assert_eq!(number(&done, "succeeded"), 3, "round {round}: {done}");
            let runs = ledger.runs(round);
            assert_eq!(runs.len(), 3, "round {round}");
            for (host, run) in &runs {
                assert_eq!((run.starts, run.ends), (1, 1), "round {round} on {host}");
            }
            let most = overlap(&runs) as u64;
            assert!(
                limit == 0 || most <= limit,
                "round {round}: {most} at once, {limit} allowed"
            );
            assert_eq!(text(&done, "status"), "succeeded");
        }
    });
}
