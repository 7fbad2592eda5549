//! `unsafe` and what can panic: in named places, with its reason beside it.

use fleetwright_tests::source::Source;

use crate::{assert_none, pattern, places, product, sources};

const UNSAFE_ALLOWED: [&str; 6] = [
    "server/src/modules/loader",
    "plugin-api/src/abi",
    "plugin-api/src/sdk",
    // The two small files the boundary's generated code stands on.
    "plugin-api/src/guard",
    "plugin-api/src/info",
    // Named system calls of the agent.
    "agent/src/",
];

#[test]
fn unsafe_is_only_where_it_is_named() {
    let allowed = |path: &str| UNSAFE_ALLOWED.iter().any(|prefix| path.starts_with(prefix));
    let files = sources();
    let ours: Vec<Source> = files
        .into_iter()
        .filter(|file| !file.path.starts_with("tests/abi/"))
        .collect();
    assert_none(
        "unsafe outside the loader, the ABI and the agent's system calls",
        &places(&ours, r"\bunsafe\b", allowed),
    );
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    let word = pattern(r"\bunsafe\s*(\{|impl\b)");
    let mut bare = Vec::new();
    for file in product() {
        let lines: Vec<&str> = file.text.lines().collect();
        for line in file.code_lines(&word) {
            // The comment stands directly above the statement, which may span a few lines.
            let from = line.saturating_sub(8);
            let near = lines.get(from..line).unwrap_or_default();
            if !near.iter().any(|text| text.contains("SAFETY:")) {
                bare.push(format!("{}:{line}", file.path));
            }
        }
    }
    assert_none("unsafe without a SAFETY comment", &bare);
}

#[test]
fn whatever_can_panic_says_why_it_does_not() {
    let word = pattern(r"\.unwrap\(\)|\.expect\(|\bpanic!|\bunreachable!");
    let mut bare = Vec::new();
    let shipped = product()
        .into_iter()
        .filter(|file| !file.path.starts_with("xtask/"));
    for file in shipped {
        let lines: Vec<&str> = file.text.lines().collect();
        for line in file.code_lines(&word) {
            let from = line.saturating_sub(6);
            let near = lines.get(from..line).unwrap_or_default();
            if !near.iter().any(|text| text.contains("//")) {
                bare.push(format!("{}:{line}", file.path));
            }
        }
    }
    assert_none(
        "a possible panic without a comment that proves it away",
        &bare,
    );
}
