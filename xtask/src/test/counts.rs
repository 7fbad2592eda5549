//! What the test harness counted: how many tests ran on each database and against real libraries, and which could not
//! be run here.

use std::path::Path;

use anyhow::{Context as _, Result};

/// Where the test harness adds one line per test that used the named thing (`sqlite`, `postgres`, `so`).
pub const VARIABLE: &str = "FLEETWRIGHT_TEST_COUNTS";

pub fn start_counting(counts: &Path) -> Result<()> {
    if let Some(folder) = counts.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(counts, "").with_context(|| counts.display().to_string())
}

/// How many tests ran on each database and against real libraries, and those that could not be run here.
pub fn by_kind(counts: &Path) -> Result<String> {
    let text = std::fs::read_to_string(counts)?;
    let count = |kind: &str| text.lines().filter(|line| line.trim() == kind).count();
    let left_out: String = text
        .lines()
        .filter_map(|line| line.strip_prefix("left out: "))
        .map(|line| format!("\nLEFT OUT: {line}"))
        .collect();
    Ok(format!(
        "{} on SQLite, {} on PostgreSQL, {} against real module libraries{left_out}",
        count("sqlite"),
        count("postgres"),
        count("so")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_could_not_be_run_are_named() {
        let folder = std::env::temp_dir().join(format!("xtask-counts-{}", std::process::id()));
        std::fs::write(&folder, "sqlite\nleft out: one: needs root\nsqlite\n").expect("a file");
        let line = by_kind(&folder).expect("counts");
        std::fs::remove_file(&folder).expect("the file");
        assert!(line.starts_with("2 on SQLite, 0 on PostgreSQL"), "{line}");
        assert!(line.ends_with("\nLEFT OUT: one: needs root"), "{line}");
    }
}
