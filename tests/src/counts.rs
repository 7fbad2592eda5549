//! Tells the test runner how many tests really ran against which database and with real module libraries: one
//! line per test in the file that `FLEETWRIGHT_TEST_COUNTS` names.

use std::io::Write as _;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
    /// Loaded at least one module `.so` into a real server.
    SharedObject,
}

pub fn count(kind: Kind) {
    note(match kind {
        Kind::Sqlite => "sqlite\n",
        Kind::Postgres => "postgres\n",
        Kind::SharedObject => "so\n",
    });
}

/// A test that could not be run here. It says so on the terminal, past the runner that keeps what passing tests print.
pub fn leave_out(test: &str, why: &str) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "LEFT OUT: {test}: {why}");
    note(&format!("left out: {test}: {why}\n"));
}

/// Appends one line. Without the variable nobody is counting.
fn note(line: &str) {
    let Some(path) = std::env::var_os("FLEETWRIGHT_TEST_COUNTS") else {
        return;
    };
    // One write of a short line to a file opened for appending is not torn by other processes.
    let written = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    written.unwrap_or_else(|error| {
        panic!("cannot count in {}: {error}", path.to_string_lossy());
    });
}
