//! `unsafe` and what can panic: in named places, with its reason beside it.

use crate::{assert_none, pattern, product, sources};

/// Each file with `unsafe` in it. A new one is added by hand, which is when somebody looks at it.
const UNSAFE_ALLOWED: [&str; 9] = [
    // A library is opened and its symbols are believed.
    "server/src/modules/loader.rs",
    // SQLite's authorizer and limits.
    "server/src/db/gate/authorizer.rs",
    // What crosses the boundary, and the symbols of a module.
    "plugin-api/src/abi.rs",
    "plugin-api/src/sdk/export.rs",
    // System calls of the agent that have no safe form.
    "agent/src/accounts.rs",
    "agent/src/operations/deploy_file/credentials.rs",
    "agent/src/supervisor/child.rs",
    "agent/src/supervisor/signals.rs",
    "agent/src/supervisor/spawner.rs",
];

#[test]
fn unsafe_is_only_where_it_is_named() {
    let word = pattern(r"\bunsafe\b");
    let with_unsafe: Vec<String> = sources()
        .into_iter()
        .filter(|file| !file.path.starts_with("tests/abi/"))
        .filter(|file| !file.code_lines(&word).is_empty())
        .map(|file| file.path)
        .collect();
    let unnamed: Vec<String> = with_unsafe
        .iter()
        .filter(|path| !UNSAFE_ALLOWED.contains(&path.as_str()))
        .cloned()
        .collect();
    assert_none("unsafe outside the files that are named for it", &unnamed);
    let without: Vec<String> = UNSAFE_ALLOWED
        .into_iter()
        .filter(|path| !with_unsafe.iter().any(|found| found == path))
        .map(str::to_owned)
        .collect();
    assert_none("named for its unsafe, and has none", &without);
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
