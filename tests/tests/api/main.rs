//! The HTTP conventions against a real server: who gets in, which inputs are refused and how, pages, idempotency,
//! roles, and what the community edition says of Pro routes. What the operations themselves do is elsewhere.

mod alike;
mod authentication;
mod community;
mod idempotency;
mod inputs;
mod operations;
mod pages;
mod refusals;
mod roles;
mod supervision;

use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::http::Answer;
use serde_json::Value;

fn community() -> TestFleet {
    Setup::community().start()
}

/// A problem must be complete, wherever it comes from.
#[track_caller]
fn assert_problem(answer: &Answer, status: u16, code: &str, what: &str) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{what}: {}",
        answer.text()
    );
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{what}"
    );
    let body = answer.json();
    assert_eq!(body["status"], status, "{what}");
    assert_eq!(body["type"], format!("/problems/{code}"), "{what}");
    assert_eq!(
        body["instance"].as_str(),
        answer.header("x-request-id"),
        "{what}"
    );
    assert!(
        body["title"].is_string() && body["detail"].is_string(),
        "{what}: {body}"
    );
    let text = answer.text().to_lowercase();
    for secret in ["sqlite", "select ", "panicked", ".rs:", "/data/", "sqlx"] {
        assert!(!text.contains(secret), "{what} tells of {secret}: {text}");
    }
}

/// The pointers and codes of a 422's violations.
fn violations(answer: &Answer) -> Vec<(String, String)> {
    let body = answer.json();
    let errors = body["errors"].as_array().cloned().unwrap_or_default();
    let field = |error: &Value, name: &str| error[name].as_str().unwrap_or_default().to_owned();
    errors
        .iter()
        .map(|error| (field(error, "pointer"), field(error, "code")))
        .collect()
}
