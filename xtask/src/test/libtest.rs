//! What Rust's test harness prints: lists of tests, a line per test, and a line of figures.

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
            line.push_str(&format!(", {} ignored", self.ignored));
        }
        line
    }

    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }

    pub fn ran(&self) -> u64 {
        self.passed + self.failed
    }
}

/// The names in `--list --format terse`: `one::test: test`.
pub fn listed(output: &str) -> Vec<String> {
    let names = output
        .lines()
        .filter_map(|line| line.strip_suffix(": test"));
    names.map(str::to_owned).collect()
}

/// The name in `test one::test ... ok`, whatever the outcome.
pub fn ended(line: &str) -> Option<&str> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    // What a test prints past the harness may stand between.
    let is_end = ["ok", "FAILED"].iter().any(|end| outcome.ends_with(end));
    is_end.then(|| name.trim_end_matches(" - should panic"))
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
pub fn result(line: &str) -> Option<Totals> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_line_of_libtest_is_counted() {
        let line = "test result: FAILED. 33 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(
            result(line),
            Some(Totals {
                passed: 33,
                failed: 1,
                ignored: 2
            })
        );
        assert_eq!(result("test parses ... ok"), None);
    }

    #[test]
    fn ignored_tests_are_never_left_out_of_the_line() {
        let line = |ignored| {
            Totals {
                passed: 1,
                failed: 0,
                ignored,
            }
            .line()
        };
        assert_eq!(line(2), "1 passed, 0 failed, 2 ignored");
        assert_eq!(line(0), "1 passed, 0 failed");
    }

    #[test]
    fn tests_are_listed_and_their_ends_are_seen() {
        assert_eq!(
            listed("a::one: test\nb: benchmark\nc: test\n"),
            ["a::one", "c"]
        );
        assert_eq!(ended("test a::one ... ok"), Some("a::one"));
        assert_eq!(ended("test a - should panic ... FAILED"), Some("a"));
        assert_eq!(ended("test a ... said something: ok"), Some("a"));
        assert_eq!(ended("test a ... ignored"), None);
        assert_eq!(ended("test result: ok. 3 passed"), None);
    }
}
