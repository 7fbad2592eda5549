//! No circle between files, in any package: whatever is taken up to be read leads to its end. What counts as an edge
//! is written down in `fleetwright_tests::imports`.

use fleetwright_tests::imports::{circles, imports};
use fleetwright_tests::source::Source;

use crate::{assert_none, is_test_file, sources};

/// The sources of every package, the tests' own among them.
fn all() -> Vec<Source> {
    sources()
        .into_iter()
        .filter(|file| !is_test_file(&file.path))
        .collect()
}

#[test]
fn no_circle_between_files() {
    let read = imports(&all());
    // Of some two thousand when this was written.
    assert!(
        read.edges.len() > 1_000,
        "only {} edges were found: the check is blind",
        read.edges.len()
    );
    let found: Vec<String> = circles(&read.edges)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_none("files that need each other", &found);
}

#[test]
fn every_file_belongs_to_a_module() {
    let read = imports(&all());
    assert_none("files that no `mod` leads to", &read.unreached);
}
