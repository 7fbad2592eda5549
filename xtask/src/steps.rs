//! Narration: numbered headings with the time each step took.

use std::time::{Duration, Instant};

use anyhow::Result;

#[derive(Default)]
pub struct Steps {
    number: u32,
}

impl Steps {
    /// Runs one step under its heading.
    pub fn step<T>(&mut self, title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.begin(title);
        let started = Instant::now();
        let result = work();
        self.end(result.is_ok(), started.elapsed());
        result
    }

    /// The heading. What happens until [`Self::end`] belongs to it.
    pub fn begin(&mut self, title: &str) {
        self.number += 1;
        println!("\n{}", bold(&format!("{:>2}. {title}", self.number)));
    }

    pub fn end(&self, succeeded: bool, took: Duration) {
        let mark = if succeeded { "done" } else { "failed" };
        println!("    {}", faint(&format!("{mark} in {}", time(took))));
    }
}

/// A line that belongs to the step under way.
pub fn say(text: &str) {
    for line in text.lines() {
        println!("    {line}");
    }
}

pub fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds >= 60 {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

pub fn bold(text: &str) -> String {
    styled("1", text)
}

pub fn faint(text: &str) -> String {
    styled("2", text)
}

fn styled(code: &str, text: &str) -> String {
    use std::io::IsTerminal as _;
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_at_a_glance() {
        assert_eq!(time(Duration::from_millis(1_230)), "1.2 s");
        assert_eq!(time(Duration::from_secs(125)), "2 min 05 s");
    }
}
