//! How long each step and each test took: a table for people, and a file that the next run reads to begin the longest first.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::steps::time;

/// Enough to see where the time goes, short enough to be read.
const SLOWEST_SHOWN: usize = 30;

#[derive(Clone, Debug, Default)]
pub struct Times {
    pub steps: Vec<(String, Duration)>,
    /// By test program and name.
    pub tests: BTreeMap<(String, String), Duration>,
}

impl Times {
    /// Those of the run before. None is no reason to stop: the order of the tests is only less good.
    pub fn read(file: &Path) -> Self {
        let mut times = Self::default();
        for line in std::fs::read_to_string(file).unwrap_or_default().lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [kind, program, name, seconds] = fields.as_slice() else {
                continue;
            };
            let seconds = seconds
                .parse()
                .ok()
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            if let (&"test", Some(seconds)) = (kind, seconds) {
                let key = ((*program).to_owned(), (*name).to_owned());
                times.tests.insert(key, seconds);
            }
        }
        times
    }

    pub fn of(&self, program: &str, test: &str) -> Option<Duration> {
        let key = (program.to_owned(), test.to_owned());
        self.tests.get(&key).copied()
    }

    pub fn table(&self) -> String {
        let mut text = String::from("Steps\n");
        for (title, took) in &self.steps {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{:>14}  {title}", time(*took));
        }
        let slowest = self.slowest();
        let _ = writeln!(
            text,
            "The slowest {} of {} tests",
            slowest.len(),
            self.tests.len()
        );
        for ((program, name), took) in slowest {
            let _ = writeln!(text, "{:>14}  {program} {name}", time(*took));
        }
        text
    }

    fn slowest(&self) -> Vec<(&(String, String), &Duration)> {
        let mut all: Vec<_> = self.tests.iter().collect();
        all.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
        all.truncate(SLOWEST_SHOWN);
        all
    }

    /// One line per step and test, and a last one for the whole: minutes, and whether from a cold start.
    pub fn write(&self, file: &Path, whole: Duration, start: &str) -> Result<()> {
        let mut text = String::new();
        for (title, took) in &self.steps {
            let _ = writeln!(text, "step\t{title}\t{:.3}", took.as_secs_f64());
        }
        for ((program, name), took) in &self.tests {
            let _ = writeln!(text, "test\t{program}\t{name}\t{:.3}", took.as_secs_f64());
        }
        let minutes = whole.as_secs_f64() / 60.0;
        let _ = writeln!(text, "total\t{minutes:.1} min\t{start}");
        std::fs::write(file, text).with_context(|| file.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times() -> Times {
        let mut times = Times::default();
        let step = ("Lints".to_owned(), Duration::from_secs(65));
        times.steps.push(step);
        for number in 0..40 {
            let key = ("tests/api".to_owned(), format!("t{number}"));
            times.tests.insert(key, Duration::from_secs(number));
        }
        times
    }

    #[test]
    fn the_file_gives_back_what_was_written_and_ends_with_the_whole() {
        let file = std::env::temp_dir().join(format!("xtask-times-{}", std::process::id()));
        let whole = Duration::from_secs(90);
        times().write(&file, whole, "cold").expect("written");
        let text = std::fs::read_to_string(&file).expect("a file");
        let read = Times::read(&file);
        std::fs::remove_file(&file).expect("the file");
        assert_eq!(read.tests, times().tests);
        assert!(text.starts_with("step\tLints\t65.000\n"), "{text}");
        assert!(text.ends_with("\ntotal\t1.5 min\tcold\n"), "{text}");
    }

    #[test]
    fn the_table_shows_the_slowest_first() {
        let table = times().table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[1].trim(), "1 min 05 s  Lints");
        assert_eq!(lines[2], "The slowest 30 of 40 tests");
        assert_eq!(lines[3].trim(), "39.0 s  tests/api t39");
        assert_eq!(lines.len(), 33);
    }
}
