//! The server killed at every observed move of deployments and at random moments between: each goes on, dispatches nothing
//! twice, and ends as it would have.

use std::time::Duration;

use fleetwright_tests::client::number;
use fleetwright_tests::databases::Engine;
use fleetwright_tests::seed::{Choices, rounds, seed_of};
use fleetwright_tests::wait::{PATIENCE, pause, wait_for};
use serde_json::json;

use super::{Site, trace, view, wait_over};

const AGENTS: usize = 6;

fn crash(engine: Engine, name: &str, default_rounds: u64) {
    let mut choices = Choices::new(seed_of(name));
    let mut site = Site::new(engine, AGENTS);
    for round in 1..=rounds(default_rounds) {
        let run = format!("r{round}");
        let halts = choices.one_in(3);
        let failing = if halts {
            site.names[2..3].to_vec()
        } else {
            Vec::new()
        };
        let undo = json!({"operation_type": "run_script", "parameters": {"script": site.script(&format!("u{round}"), &[])}});
        let more = json!({"batch_size": 2, "batch_delay_seconds": choices.below(2), "failure_threshold_pct": 0, "rollback": undo});
        let id = site.deploy(&site.body(&run, &failing, more));
        let mut seen = (0, 0);
        for _kill in 0..12 {
            // The next move or batch, or some moment before it.
            let impatient = choices.one_in(3).then(|| choices.below(400));
            let admin = site.fleet.admin.clone();
            if let Some(milliseconds) = impatient {
                pause(Duration::from_millis(milliseconds));
            } else {
                seen = wait_for("the next move", PATIENCE, || {
                    let now = (
                        trace(&admin, &id).len(),
                        number(&view(&admin, &id), "current_batch"),
                    );
                    let over = super::is_over(&view(&admin, &id));
                    (now != seen || over).then_some(now)
                });
            }
            if super::is_over(&view(&admin, &id)) {
                break;
            }
            site.fleet.server.restart();
            for agent in &mut site.fleet.agents {
                agent.kill();
                agent.run();
            }
        }
        let done = wait_over(&site.fleet.admin, &id);
        let expected = if halts { "rolled_back" } else { "succeeded" };
        assert_eq!(done["status"], expected, "{run}: {done}");
        let ran = site.started(&run);
        let undone = site.started(&format!("u{round}"));
        if halts {
            // The other host of the failing batch may not have started yet when it halted.
            assert!(
                ran == site.names[..4] || ran == site.names[..3],
                "{run}: {ran:?}"
            );
            assert_eq!(undone, ran, "{run}");
        } else {
            assert_eq!(ran, site.names, "{run}");
            assert!(undone.is_empty(), "{run}: {undone:?}");
        }
        let moves = trace(&site.fleet.admin, &id);
        let mut once = moves.clone();
        once.dedup();
        assert_eq!(moves, once, "a move was made twice");
    }
}

#[test]
fn a_killed_server_goes_on_with_its_deployments_on_sqlite() {
    crash(Engine::Sqlite, "rolling crash loop on SQLite", 3);
}

#[test]
fn a_killed_server_goes_on_with_its_deployments_on_postgres() {
    crash(Engine::Postgres, "rolling crash loop on PostgreSQL", 2);
}
