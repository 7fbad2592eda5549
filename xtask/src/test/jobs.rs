//! Which processes a run of tests consists of, and in which order they begin.

use std::time::Duration;

use anyhow::Result;

use super::build::{Holds, Program};
use super::libtest;
use super::times::Times;
use crate::cargo::output;

/// What a test is thought to take that no run before has measured.
const UNKNOWN: Duration = Duration::from_secs(5);
/// The same where tests kill servers, fill disks and install packages: a fresh clone begins with them.
const UNKNOWN_LONG: Duration = Duration::from_secs(60);
const LONG: [&str; 6] = [
    "agent/packages",
    "tests/faults",
    "tests/modules",
    "tests/rolling",
    "tests/schedules",
    "tests/simulation",
];

/// One process to run.
pub struct Job<'a> {
    pub program: &'a Program,
    /// Nothing: all of them.
    pub test: Option<String>,
    pub expected: Duration,
}

pub struct Selection<'a> {
    /// Parts of the names of programs and tests; none stand for everything.
    pub filters: &'a [String],
    /// How long they took in the last run.
    pub before: &'a Times,
}

impl Selection<'_> {
    fn takes(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter))
    }

    fn expected(&self, program: &Program, test: &str) -> Duration {
        let unknown = if LONG.contains(&program.name.as_str()) {
            UNKNOWN_LONG
        } else {
            UNKNOWN
        };
        self.before.of(&program.name, test).unwrap_or(unknown)
    }
}

/// The longest first, so that the end of the run is not spent waiting for one of them alone.
pub fn jobs<'a>(programs: &'a [Program], selection: &Selection) -> Result<Vec<Job<'a>>> {
    let mut jobs = Vec::new();
    for program in programs {
        let mut command = program.command();
        command.args(["--list", "--format", "terse"]);
        jobs.extend(jobs_of(
            program,
            &libtest::listed(&output(command)?),
            selection,
        ));
    }
    jobs.sort_by_key(|job| std::cmp::Reverse(job.expected));
    Ok(jobs)
}

fn jobs_of<'a>(program: &'a Program, tests: &[String], selection: &Selection) -> Vec<Job<'a>> {
    match program.holds {
        Holds::EndToEndTests => tests
            .iter()
            .filter(|test| selection.takes(&format!("{} {test}", program.name)))
            .map(|test| Job {
                program,
                expected: selection.expected(program, test),
                test: Some(test.clone()),
            })
            .collect(),
        Holds::UnitTests if tests.is_empty() || !selection.takes(&program.name) => Vec::new(),
        Holds::UnitTests => vec![Job {
            program,
            expected: tests
                .iter()
                .map(|test| selection.expected(program, test))
                .sum(),
            test: None,
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(holds: Holds) -> Program {
        Program {
            name: "tests/api".to_owned(),
            path: "/target/api".into(),
            folder: "/tests".into(),
            holds,
        }
    }

    fn shown(jobs: &[Job]) -> Vec<(Option<String>, u64)> {
        let shown = jobs.iter();
        shown
            .map(|job| (job.test.clone(), job.expected.as_secs()))
            .collect()
    }

    #[test]
    fn tests_with_servers_are_processes_of_their_own_and_unit_tests_share_one() {
        let mut before = Times::default();
        let key = ("tests/api".to_owned(), "long".to_owned());
        before.tests.insert(key, Duration::from_secs(70));
        let all = Selection {
            filters: &[],
            before: &before,
        };
        let tests = ["new".to_owned(), "long".to_owned()];
        let apart = program(Holds::EndToEndTests);
        let expected = [(Some("new".to_owned()), 5), (Some("long".to_owned()), 70)];
        assert_eq!(shown(&jobs_of(&apart, &tests, &all)), expected);
        let together = program(Holds::UnitTests);
        assert_eq!(shown(&jobs_of(&together, &tests, &all)), [(None, 75)]);
        assert!(jobs_of(&together, &[], &all).is_empty());
    }

    #[test]
    fn a_filter_picks_by_program_and_by_test() {
        let before = Times::default();
        let picked = |filter: &str| {
            let filters = [filter.to_owned()];
            let selection = Selection {
                filters: &filters,
                before: &before,
            };
            let tests = ["one".to_owned(), "two".to_owned()];
            jobs_of(&program(Holds::EndToEndTests), &tests, &selection).len()
        };
        assert_eq!((picked("api"), picked("one"), picked("access")), (2, 1, 0));
    }
}
