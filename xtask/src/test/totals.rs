//! Counts what test runs report, while passing their output on.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::cargo::shown;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub passed: u64,
    pub failed: u64,
    pub ignored: u64,
}

impl Totals {
    pub fn line(&self) -> String {
        let mut line = format!("{} passed, {} failed", self.passed, self.failed);
        if self.ignored > 0 {
            // Writing to a string cannot fail.
            let _ = write!(line, ", {} ignored", self.ignored);
        }
        line
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// Runs tests, shows what they print and adds up what they report.
pub fn run_tests(mut command: Command, totals: &mut Totals) -> Result<()> {
    // nextest reports on standard error, libtest on standard output: both go into one pipe, through a shell.
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| shown(&command))?;
    let stdout = child.stdout.take().context("no output")?;
    for line in BufReader::new(stdout).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{line}");
        if let Some(result) = parse(&line) {
            totals.add(result);
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{} ({status})", shown(&command));
    }
    Ok(())
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn parse(line: &str) -> Option<Totals> {
    let figures = line
        .trim()
        .strip_prefix("test result: ")?
        .split_once(". ")?
        .1;
    let figure = |name: &str| {
        figures
            .split("; ")
            .find_map(|part| part.strip_suffix(name)?.trim().parse::<u64>().ok())
            .unwrap_or_default()
    };
    Some(Totals {
        passed: figure("passed"),
        failed: figure("failed"),
        ignored: figure("ignored"),
    })
}

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
    fn the_result_line_of_libtest_is_counted() {
        let line = "test result: FAILED. 33 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(
            parse(line),
            Some(Totals {
                passed: 33,
                failed: 1,
                ignored: 2
            })
        );
        assert_eq!(parse("test parses ... ok"), None);
    }

    #[test]
    fn tests_that_could_not_be_run_are_named() {
        let folder = std::env::temp_dir().join(format!("xtask-counts-{}", std::process::id()));
        std::fs::write(&folder, "sqlite\nleft out: one: needs root\nsqlite\n").expect("a file");
        let line = by_kind(&folder).expect("counts");
        std::fs::remove_file(&folder).expect("the file");
        assert!(line.starts_with("2 on SQLite, 0 on PostgreSQL"), "{line}");
        assert!(line.ends_with("\nLEFT OUT: one: needs root"), "{line}");
    }

    #[test]
    fn ignored_tests_are_never_left_out_of_the_line() {
        assert_eq!(
            Totals {
                passed: 1,
                failed: 0,
                ignored: 2
            }
            .line(),
            "1 passed, 0 failed, 2 ignored"
        );
        assert_eq!(
            Totals {
                passed: 1,
                failed: 0,
                ignored: 0
            }
            .line(),
            "1 passed, 0 failed"
        );
    }
}
