//! A database that goes away and comes back. In a process of its own, with a cluster of its own, because it restarts it.

use fleetwright_tests::client::script;
use fleetwright_tests::databases::Engine;
use fleetwright_tests::fleet::Setup;
use fleetwright_tests::postgres;
use fleetwright_tests::wait::{PATIENCE, wait_until};
use serde_json::json;

#[test]
fn a_restarted_postgres_is_503_for_a_while_and_then_as_before() {
    let cluster = postgres::cluster_of_its_own();
    let mut fleet = Setup::community().on(Engine::Postgres).start();
    let host = fleet.add_agent("one.test", &[]);
    assert_eq!(fleet.run_script(&host, "true")["status"], "succeeded");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut statuses = std::collections::BTreeSet::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let answer = fleet.admin.post("/enrollment-tokens", &json!({"uses": 1}));
                if answer.status == 503 {
                    assert!(answer.header("retry-after").is_some(), "{}", answer.text());
                }
                statuses.insert(answer.status);
            }
            statuses
        });
        cluster.restart();
        wait_until("writes to work again", PATIENCE, || {
            fleet
                .admin
                .post("/enrollment-tokens", &json!({"uses": 1}))
                .status
                == 201
        });
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let statuses = asking.join().expect("asking does not panic");
        assert!(
            statuses.iter().all(|status| [201, 503].contains(status)),
            "{statuses:?}"
        );
    });
    let id = fleet.admin.run_on_host(&host, &script("true"));
    assert_eq!(fleet.admin.wait_command(&id)["status"], "succeeded");
}
