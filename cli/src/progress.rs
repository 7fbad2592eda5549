//! How far an operation is, and how that is shown: a bar on a terminal, else a line now and then.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;
use serde_json::Value;

use crate::follow::{Watcher, is_terminal};

/// The five counters always sum to `total`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct HostCounts {
    pub status: Option<String>,
    pub total: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub running: u64,
    pub queued: u64,
    pub skipped: u64,
    pub percent_complete: f64,
}

impl HostCounts {
    /// An operation carries its counters itself or under `progress`. `None` if there are none.
    pub fn of(said: &Value) -> Option<Self> {
        let counters = said.get("progress").unwrap_or(said);
        counters.get("total")?;
        serde_json::from_value(counters.clone()).ok()
    }

    pub fn finished_hosts(&self) -> u64 {
        self.succeeded + self.failed + self.skipped
    }

    /// Whether nothing is left to happen.
    pub fn is_finished(&self) -> bool {
        match &self.status {
            Some(status) => is_terminal(status),
            None => self.total > 0 && self.finished_hosts() == self.total,
        }
    }

    pub fn sentence(&self) -> String {
        let parts = [
            (self.succeeded, "succeeded"),
            (self.failed, "failed"),
            (self.running, "running"),
            (self.queued, "queued"),
            (self.skipped, "skipped"),
        ];
        let said: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        said.join(", ")
    }
}

pub enum Display {
    Bar(ProgressBar),
    Lines { last: Option<HostCounts> },
    Nothing,
}

/// Without a terminal a new line is written only after this much of the whole, so that a log stays readable.
const LINE_EVERY_PERCENT: f64 = 10.0;

impl Display {
    /// On standard error, so that standard output stays the result.
    pub fn new(wanted: bool) -> Self {
        if !wanted {
            return Self::Nothing;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines { last: None };
        }
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        if let Ok(style) =
            ProgressStyle::with_template("{bar:30} {pos}/{len} hosts  {msg}  {elapsed}")
        {
            bar.set_style(style.progress_chars("━╸─"));
        }
        Self::Bar(bar)
    }

    fn draw(&mut self, progress: &HostCounts) {
        match self {
            Self::Bar(bar) => {
                bar.set_length(progress.total);
                bar.set_position(progress.finished_hosts());
                bar.set_message(progress.sentence());
            }
            Self::Lines { last } => {
                if is_worth_a_line(last.as_ref(), progress) {
                    eprintln!(
                        "{:>5.1} %  {}",
                        progress.percent_complete,
                        progress.sentence()
                    );
                    *last = Some(progress.clone());
                }
            }
            Self::Nothing => {}
        }
    }
}

impl Watcher for Display {
    fn show(&mut self, said: &Value) -> bool {
        let Some(progress) = HostCounts::of(said) else {
            return false;
        };
        self.draw(&progress);
        progress.is_finished()
    }

    fn leave(&mut self) {
        if let Self::Bar(bar) = self {
            bar.abandon();
        }
    }
}

pub fn is_worth_a_line(last: Option<&HostCounts>, now: &HostCounts) -> bool {
    match last {
        None => true,
        Some(last) if last == now => false,
        Some(last) => {
            now.is_finished() && !last.is_finished()
                || now.percent_complete - last.percent_complete >= LINE_EVERY_PERCENT
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(percent_complete: f64, succeeded: u64) -> HostCounts {
        HostCounts {
            total: 10,
            succeeded,
            queued: 10 - succeeded,
            percent_complete,
            ..HostCounts::default()
        }
    }

    #[test]
    fn a_log_gets_a_line_per_tenth_and_one_at_the_end() {
        assert!(is_worth_a_line(None, &at(0.0, 0)));
        assert!(!is_worth_a_line(Some(&at(0.0, 0)), &at(9.9, 0)));
        assert!(is_worth_a_line(Some(&at(0.0, 0)), &at(10.0, 1)));
        assert!(is_worth_a_line(Some(&at(99.9, 9)), &at(100.0, 10)));
        assert!(!is_worth_a_line(Some(&at(100.0, 10)), &at(100.0, 10)));
    }

    #[test]
    fn a_status_decides_before_the_counters() {
        let paused = HostCounts {
            status: Some("paused".into()),
            ..at(100.0, 10)
        };
        assert!(!paused.is_finished());
        assert!(at(100.0, 10).is_finished());
    }
}
