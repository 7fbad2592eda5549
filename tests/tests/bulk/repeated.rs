//! A client that goes away while its operation is being accepted, and asks again under the same key.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fleetwright_server::db::{Db, DbError, Statement};
use fleetwright_tests::client::{is_terminal, text};
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::http::{Answer, Connection, Request};
use fleetwright_tests::load::inventory;
use fleetwright_tests::wait::{PATIENCE, pause, wait_for, wait_until};

use super::{bulk_on, enrolled};

/// The server notices a closed connection within a few requests of others.
const PROBES: usize = 50;

fn keyed(fleet: &TestFleet) -> Request {
    fleet
        .admin
        .request("POST", "/fleet/bulk")
        .header("idempotency-key", "once")
        .json(&bulk_on("repeated", serde_json::json!({})))
}

/// Holds the database's write lock until the sender is dropped.
fn hold_writes(fleet: &TestFleet) -> (mpsc::Sender<()>, thread::JoinHandle<()>) {
    let url = format!(
        "sqlite://{}",
        fleet
            .server
            .settings
            .data_dir()
            .join("fleetwright.db")
            .display()
    );
    let (release, released) = mpsc::channel::<()>();
    let (locked, is_locked) = mpsc::channel::<()>();
    let holding = thread::spawn(move || {
        inventory::with_database(&url, |db: Db| async move {
            db.write(move |tx| -> Result<(), DbError> {
                tx.execute(Statement::new("DELETE FROM hosts WHERE 1 = 0"))?;
                let _ = locked.send(());
                // Ends when the test drops its side.
                let _ = released.recv();
                Ok(())
            })
            .await
        });
    });
    is_locked.recv_timeout(PATIENCE).unwrap();
    (release, holding)
}

#[test]
fn a_client_that_goes_away_and_asks_again_creates_one_operation() {
    let fleet = Setup::pro().start();
    let (mut crowd, identities) = enrolled(&fleet, "repeated", 2);
    crowd.connect(
        &identities,
        fleetwright_tests::load::agent::Behaviour::Succeed(Duration::ZERO),
    );
    let (release, holding) = hold_writes(&fleet);
    let mut impatient = Connection::open(fleet.server.listen).unwrap();
    impatient.send(&keyed(&fleet)).unwrap();
    // A head start: a probe that came first would have the key, and wait for the lock that this test holds.
    pause(Duration::from_millis(500));
    let probe = || -> Answer { fleet.admin.send(&keyed(&fleet)) };
    wait_until("the first request to hold the key", PATIENCE, || {
        probe().code() == "in-progress"
    });
    drop(impatient);
    for _ in 0..PROBES {
        assert_eq!(probe().code(), "in-progress", "its work goes on");
    }
    drop(release);
    holding.join().unwrap();
    let answer = wait_for("the repeated request's answer", PATIENCE, || {
        let answer = probe();
        (answer.code() != "in-progress").then_some(answer)
    });
    assert_eq!(answer.header("idempotent-replayed"), Some("true"));
    let id = text(&answer.expect(202), "id");
    wait_until("the operation to end", PATIENCE, || {
        is_terminal(
            &fleet
                .admin
                .get(&format!("/fleet/bulk/{id}/progress"))
                .expect(200),
        )
    });
    assert_eq!(fleet.admin.all("/fleet/bulk").len(), 1);
}
