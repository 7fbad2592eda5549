//! What a person who watches a rolling deployment sees: batches as bars, failures with reasons, what is waited for and
//! how long it may take. Pure text.

use std::time::Duration;

use serde_json::Value;

use crate::output::field;
use crate::report::counter;
use crate::table::printable;

const BAR_CELLS: u64 = 30;
/// Batches on the screen: what went before, what runs, what comes; a page of a terminal holds them.
const BATCHES_MAX: usize = 9;
/// Of these, those that are over.
const BATCHES_BEFORE: usize = 4;

/// What there is to show.
pub struct View<'a> {
    /// As `/progress` says it.
    pub progress: &'a Value,
    /// As `/batches` says them, from the first on.
    pub batches: &'a [Value],
    /// Rows of hosts that failed, with names.
    pub failures: &'a [Value],
    /// Since it is watched.
    pub watched: Duration,
    /// Hosts that were over when watching began.
    pub done_before: u64,
}

impl View<'_> {
    /// The whole picture, without a new line at its end.
    pub fn text(&self) -> String {
        let mut lines = vec![self.headline()];
        lines.extend(self.shown_batches().map(batch_line));
        lines.extend(waiting(self.progress));
        lines.extend(self.failures.iter().map(failure_line));
        lines.join("\n")
    }

    /// One line for a log.
    pub fn headline(&self) -> String {
        let of = |name| field(self.progress, name);
        let state = match of("phase") {
            phase if phase.is_empty() => of("status"),
            phase => phase,
        };
        let done = done(self.progress);
        let total = counter(self.progress, "total");
        let mut parts = vec![
            state,
            format!("batch {} of {}", of("current_batch"), of("batch_count")),
            format!("{done} of {total} hosts"),
        ];
        let failed = counter(self.progress, "failed");
        if failed > 0 {
            parts.push(format!("{failed} failed ({} %)", of("failure_pct")));
        }
        if let Some(left) = self.time_left() {
            parts.push(format!("about {} left", rounded(left)));
        }
        parts.join(" · ")
    }

    /// At the pace seen so far; pauses between batches count in it. `None` before there is a pace, and while it does
    /// not run.
    fn time_left(&self) -> Option<Duration> {
        if field(self.progress, "status") != "running" || !field(self.progress, "phase").is_empty()
        {
            return None;
        }
        let seen = done(self.progress).checked_sub(self.done_before)?;
        let open = counter(self.progress, "total").checked_sub(done(self.progress))?;
        if seen == 0 || open == 0 {
            return None;
        }
        let millis = self.watched.as_millis() * u128::from(open) / u128::from(seen);
        Some(Duration::from_millis(
            u64::try_from(millis).unwrap_or(u64::MAX),
        ))
    }

    fn shown_batches(&self) -> impl Iterator<Item = &Value> {
        let current =
            usize::try_from(counter(self.progress, "current_batch")).unwrap_or(usize::MAX);
        let latest = self.batches.len().saturating_sub(BATCHES_MAX);
        let first = current.saturating_sub(BATCHES_BEFORE + 1).min(latest);
        self.batches.iter().skip(first).take(BATCHES_MAX)
    }
}

fn done(progress: &Value) -> u64 {
    ["succeeded", "failed", "skipped"]
        .iter()
        .map(|name| counter(progress, name))
        .sum()
}

fn batch_line(batch: &Value) -> String {
    let total = counter(batch, "total").max(1);
    let done = done(batch);
    let full = done * BAR_CELLS / total;
    let bar: String = (0..BAR_CELLS)
        .map(|cell| if cell < full { '━' } else { '─' })
        .collect();
    let mut line = format!("{:>4}  {bar}  {done}/{total}", field(batch, "batch"));
    let parts: Vec<String> = ["failed", "running", "skipped"]
        .iter()
        .map(|name| (counter(batch, name), name))
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    if !parts.is_empty() {
        line.push_str("  ");
        line.push_str(&parts.join(", "));
    }
    line
}

/// What it waits for, if not for hosts.
fn waiting(progress: &Value) -> Option<String> {
    let of = |name| field(progress, name);
    match of("status").as_str() {
        "awaiting_approval" => Some(format!(
            "batch {} waits: fleetwright rolling approve {}",
            of("awaiting_batch"),
            of("id")
        )),
        "paused" => Some(format!("paused: fleetwright rolling resume {}", of("id"))),
        "running" if !of("next_batch_at").is_empty() => {
            Some(format!("next batch at {}", of("next_batch_at")))
        }
        _other => None,
    }
}

fn failure_line(row: &Value) -> String {
    let why = match (field(row, "reason"), field(row, "message")) {
        (reason, message) if message.is_empty() => reason,
        (reason, message) => format!("{reason}: {message}"),
    };
    format!(
        "failed {}  {}",
        printable(&field(row, "name")),
        printable(&why)
    )
}

fn rounded(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..90 => format!("{} s", seconds.max(1)),
        90..5_400 => format!("{} min", (seconds + 30) / 60),
        _more => format!("{} h", (seconds + 1_800) / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view<'a>(progress: &'a Value, batches: &'a [Value], failures: &'a [Value]) -> View<'a> {
        View {
            progress,
            batches,
            failures,
            watched: Duration::from_secs(60),
            done_before: 0,
        }
    }

    fn progress() -> Value {
        json!({
            "id": "7", "status": "running", "phase": null, "current_batch": 2, "batch_count": 3, "total": 40,
            "succeeded": 9, "failed": 1, "skipped": 0, "running": 2, "queued": 28, "failure_pct": 2.5,
        })
    }

    #[test]
    fn batches_are_bars_and_failures_have_reasons() {
        let batches = [
            json!({"batch": 1, "total": 4, "succeeded": 3, "failed": 1}),
            json!({"batch": 2, "total": 12, "succeeded": 6, "running": 2, "queued": 4}),
        ];
        let failures =
            [json!({"name": "web-3", "reason": "exit_code", "message": "exited with code 1"})];
        let half = "━".repeat(15) + &"─".repeat(15);
        let expected = format!(
            "running · batch 2 of 3 · 10 of 40 hosts · 1 failed (2.5 %) · about 3 min left\n   1  {}  4/4  1 failed\n   \
             2  {half}  6/12  2 running\nfailed web-3  exit_code: exited with code 1",
            "━".repeat(30)
        );
        assert_eq!(view(&progress(), &batches, &failures).text(), expected);
    }

    #[test]
    fn no_time_is_promised_while_nothing_moves() {
        for (status, phase) in [
            ("paused", ""),
            ("running", "halting"),
            ("awaiting_approval", ""),
        ] {
            let mut said = progress();
            said["status"] = json!(status);
            said["phase"] = json!(phase);
            assert!(
                !view(&said, &[], &[]).headline().contains("left"),
                "{status} {phase}"
            );
        }
    }

    #[test]
    fn what_waits_for_a_person_says_what_to_type() {
        let mut said = progress();
        said["status"] = json!("awaiting_approval");
        said["awaiting_batch"] = json!(2);
        let text = view(&said, &[], &[]).text();
        assert!(
            text.ends_with("batch 2 waits: fleetwright rolling approve 7"),
            "{text}"
        );
    }

    #[test]
    fn of_many_batches_those_around_the_current_one_are_shown() {
        let batches: Vec<Value> = (1..=50)
            .map(|batch| json!({"batch": batch, "total": 1}))
            .collect();
        for (current, first) in [(0, 1), (1, 1), (20, 16), (50, 42)] {
            let mut said = progress();
            said["current_batch"] = json!(current);
            let view = view(&said, &batches, &[]);
            let shown: Vec<u64> = view
                .shown_batches()
                .map(|batch| counter(batch, "batch"))
                .collect();
            assert_eq!((shown[0], shown.len()), (first, 9), "{current}");
        }
    }

    #[test]
    fn a_time_left_is_rounded_as_people_say_it() {
        let said =
            [0, 89, 90, 3_600, 5_400, 9_000].map(|seconds| rounded(Duration::from_secs(seconds)));
        assert_eq!(said, ["1 s", "89 s", "2 min", "60 min", "2 h", "3 h"]);
    }
}
