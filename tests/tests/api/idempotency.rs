//! A repeated POST with the same key does its work once, also across a crash.

use fleetwright_tests::client::{Client, text};
use fleetwright_tests::databases::Engine;
use fleetwright_tests::fleet::Setup;
use fleetwright_tests::http::Answer;
use serde_json::{Value, json};

use super::{assert_problem, community};

fn keyed(client: &Client, key: &str, body: &Value) -> Answer {
    let request = client
        .request("POST", "/enrollment-tokens")
        .header("idempotency-key", key)
        .json(body);
    client.send(&request)
}

#[test]
fn the_same_key_and_body_replays_the_first_answer_and_another_body_is_refused() {
    let fleet = community();
    let body = json!({"uses": 3});
    let first = keyed(&fleet.admin, "key-1", &body);
    assert_eq!(first.status, 201, "{}", first.text());
    assert_eq!(first.header("idempotent-replayed"), None);
    let again = keyed(&fleet.admin, "key-1", &body);
    assert_eq!(again.status, 201);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.json()["id"], first.json()["id"]);
    assert_eq!(again.header("location"), first.header("location"));
    let other = keyed(&fleet.admin, "key-1", &json!({"uses": 4}));
    assert_problem(&other, 422, "idempotency-mismatch", "another body");
    assert_eq!(fleet.admin.all("/enrollment-tokens").len(), 1);
    // A key is its caller's own.
    let colleague = fleet.admin.token_of_role("admin");
    let theirs = keyed(&colleague, "key-1", &json!({"uses": 4}));
    assert_eq!(theirs.status, 201, "{}", theirs.text());
    assert_ne!(theirs.json()["id"], first.json()["id"]);
}

#[test]
fn a_refused_request_leaves_its_key_free() {
    let fleet = community();
    assert_eq!(
        keyed(&fleet.admin, "key-2", &json!({"uses": 0})).status,
        422
    );
    assert_eq!(
        keyed(&fleet.admin, "key-2", &json!({"uses": 1})).status,
        201
    );
}

#[test]
fn concurrent_requests_with_one_key_create_one_thing() {
    let fleet = community();
    let body = json!({"uses": 9});
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| keyed(&fleet.admin, "key-3", &body)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for answer in &answers {
        match answer.status {
            201 => {}
            409 => assert_problem(answer, 409, "in-progress", "while the first one runs"),
            _ => panic!("{}: {}", answer.status, answer.text()),
        }
    }
    assert!(answers.iter().any(|answer| answer.status == 201));
    assert_eq!(fleet.admin.all("/enrollment-tokens").len(), 1);
}

fn survives_a_crash(engine: Engine) {
    let mut fleet = Setup::community().on(engine).start();
    let body = json!({"uses": 5});
    let first = keyed(&fleet.admin, "key-4", &body);
    assert_eq!(first.status, 201, "{}", first.text());
    fleet.server.restart();
    let again = keyed(&fleet.admin, "key-4", &body);
    assert_eq!(
        again.header("idempotent-replayed"),
        Some("true"),
        "{}",
        again.text()
    );
    assert_eq!(text(&again.json(), "id"), text(&first.json(), "id"));
    assert_eq!(fleet.admin.all("/enrollment-tokens").len(), 1);
}

#[test]
fn a_record_survives_a_crash_on_sqlite() {
    survives_a_crash(Engine::Sqlite);
}

#[test]
fn a_record_survives_a_crash_on_postgres() {
    survives_a_crash(Engine::Postgres);
}
