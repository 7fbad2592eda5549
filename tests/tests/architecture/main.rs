//! The rules of ARCHITECTURE.md that a reader of sources can check. Each failure lists every place. The exceptions
//! are named here, with their reasons, and nowhere else.

mod circles;
mod places;
mod shape;
mod soundness;
mod tables;
mod tower;

use std::sync::OnceLock;

use fleetwright_tests::imports::{self, Edge};
use fleetwright_tests::source::{self, Source};
use regex::Regex;

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a fixed pattern")
}

/// Read once: twenty checks look at every file.
fn sources() -> Vec<Source> {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(source::rust_sources).clone()
}

/// Product sources: not the tests package, not files that are tests themselves.
fn product() -> Vec<Source> {
    sources()
        .into_iter()
        .filter(|file| !file.path.starts_with("tests/") && !is_test_file(&file.path))
        .collect()
}

fn is_test_file(path: &str) -> bool {
    path.contains("/tests/")
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
        || path.contains("/fuzz/")
}

/// Which product file names what of which other. Read once, like the files.
fn edges() -> &'static [Edge] {
    static EDGES: OnceLock<Vec<Edge>> = OnceLock::new();
    EDGES.get_or_init(|| imports::imports(&product()).edges)
}

fn places(files: &[Source], needle: &str, excused: impl Fn(&str) -> bool) -> Vec<String> {
    let needle = pattern(needle);
    files
        .iter()
        .filter(|file| !excused(&file.path))
        .flat_map(|file| {
            let lines = file.code_lines(&needle);
            lines
                .into_iter()
                .map(|line| format!("{}:{line}", file.path))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn assert_none(rule: &str, places: &[String]) {
    assert!(places.is_empty(), "{rule}:\n  {}", places.join("\n  "));
}

/// `server/src/hosts/store.rs` → `hosts`; `None` outside the server and for its top-level files.
fn slice_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("server/src/")?;
    match rest.split_once('/') {
        Some((slice, _)) => Some(slice),
        None => rest.strip_suffix(".rs"),
    }
}

fn is_store(path: &str) -> bool {
    path.ends_with("/store.rs") || path.contains("/store/") || path.ends_with("_store.rs")
}
