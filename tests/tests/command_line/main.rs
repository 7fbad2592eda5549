//! The built command line against a real server with its modules and real agents, with and without a terminal.

mod rolling;
mod schedules;

use std::path::PathBuf;
use std::process::{Command, Output};

use fleetwright_tests::binaries;
use fleetwright_tests::fleet::{Setup, TestFleet};
use serde_json::Value;

const NAMES: [&str; 4] = ["a.test", "b.test", "c.test", "d.test"];

fn fleet() -> TestFleet {
    let mut fleet = Setup::pro().start();
    for name in NAMES {
        fleet.add_agent(name, &["web"]);
    }
    fleet
}

/// Without a terminal, as in a pipeline.
fn fleetwright(fleet: &TestFleet, words: &[&str]) -> Output {
    let mut command = fleet.command_line();
    command.args(words).output().expect("it can be run")
}

/// The same on a terminal of its own, not yet started.
fn on_terminal(fleet: &TestFleet, words: &[&str]) -> Command {
    let quoted = |word: &str| format!("'{}'", word.replace('\'', r"'\''"));
    let line: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let cli = quoted(&binaries::cli().display().to_string());
    // A terminal that was just made has no size.
    let line = format!("stty rows 50 cols 200; exec {cli} {}", line.join(" "));
    let mut command = fleet.signed_in(PathBuf::from("script"));
    command
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("TERM", "xterm");
    command
}

/// What a call prints for programs; panics unless it succeeds.
#[track_caller]
fn data(fleet: &TestFleet, words: &[&str]) -> Value {
    let output = fleetwright(fleet, &[&["--yes", "--output", "json"], words].concat());
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("not JSON ({error}): {}", told(&output)))
}

/// Exit code and all that was printed.
#[track_caller]
fn outcome(fleet: &TestFleet, words: &[&str]) -> (Option<i32>, String) {
    let output = fleetwright(fleet, words);
    (output.status.code(), told(&output))
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
