//! Placement, jobs and budgets as whoever uses them meets them: real servers with the module, real agents, the built command
//! line.

mod factory;
mod heartbeats;
mod kills;
mod nodes;
mod refusals;
mod switches;
mod worker;

use std::process::Output;

use fleetwright_tests::fleet::TestFleet;
use serde_json::Value;

/// Without a terminal, as in a pipeline: the exit code and all that was printed.
#[track_caller]
fn outcome(fleet: &TestFleet, words: &[&str]) -> (Option<i32>, String) {
    let output = run(fleet, None, words);
    (output.status.code(), told(&output))
}

/// What a call prints for programs; panics unless it succeeds.
#[track_caller]
fn data(fleet: &TestFleet, words: &[&str]) -> Value {
    parsed(&run(
        fleet,
        None,
        &[&["--yes", "--output", "json"], words].concat(),
    ))
}

/// The same with another token.
#[track_caller]
fn data_as(fleet: &TestFleet, token: &str, words: &[&str]) -> Value {
    let words = [&["--yes", "--output", "json"], words].concat();
    parsed(&run(fleet, Some(token), &words))
}

#[track_caller]
fn outcome_as(fleet: &TestFleet, token: &str, words: &[&str]) -> (Option<i32>, String) {
    let output = run(fleet, Some(token), words);
    (output.status.code(), told(&output))
}

fn run(fleet: &TestFleet, token: Option<&str>, words: &[&str]) -> Output {
    let mut command = fleet.command_line();
    if let Some(token) = token {
        command.env("FLEETWRIGHT_TOKEN", token);
    }
    command.args(words).output().expect("it can be run")
}

#[track_caller]
fn parsed(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", told(output));
    if output.stdout.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("not JSON ({error}): {}", told(output)))
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
