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

/// Appends one line. Without the variable nobody is counting.
pub fn count(kind: Kind) {
    let Some(path) = std::env::var_os("FLEETWRIGHT_TEST_COUNTS") else {
        return;
    };
    let word = match kind {
        Kind::Sqlite => "sqlite\n",
        Kind::Postgres => "postgres\n",
        Kind::SharedObject => "so\n",
    };
    // One write of a short line to a file opened for appending is not torn by other processes.
    let written = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(word.as_bytes()));
    written.unwrap_or_else(|error| {
        panic!("cannot count in {}: {error}", path.to_string_lossy());
    });
}
