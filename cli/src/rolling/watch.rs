//! Watches a rolling deployment: fetches batches and failures when the counters move, and draws them.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::screen::View;
use crate::failure::{Completion, Failure};
use crate::follow::{self, Watcher};
use crate::progress::{HostCounts, is_worth_a_line};
use crate::report::Kind;
use crate::session::Session;
use crate::{output, pages, report};

/// Pictures a second; a person reads no faster, and each costs two small requests.
const REDRAW_PAUSE: Duration = Duration::from_millis(300);
/// Failures on the screen; `rolling hosts --status failed` has them all.
const FAILURES_MAX: usize = 8;
/// Deployments of more batches are shown by their counters alone.
const BATCHES_MAX: usize = 500;

pub struct Watch<'a> {
    session: &'a Session,
    path: String,
    began: Instant,
    done_before: Option<u64>,
    batches: Vec<Value>,
    failures: Vec<Value>,
    fetched: Option<Instant>,
    canvas: Canvas,
}

enum Canvas {
    /// Drawn over and over.
    Screen(ProgressBar),
    /// A line now and then: a log stays readable.
    Lines(Option<Last>),
    Nothing,
}

struct Last {
    progress: HostCounts,
    state: String,
}

/// Follows a deployment to its end and says what came of it.
pub fn watch(session: &Session, id: &str) -> Result<Completion, Failure> {
    let path = Kind::Rolling.path(id);
    let mut watch = Watch::new(session, path.clone());
    let deployment = follow::to_the_end(session, &path, &mut watch).inspect_err(|_| {
        eprintln!("rolling deployment {id} goes on: fleetwright rolling watch {id}");
    })?;
    report::report(session, Kind::Rolling, &deployment)
}

impl<'a> Watch<'a> {
    pub fn new(session: &'a Session, path: String) -> Self {
        Self {
            session,
            path,
            began: Instant::now(),
            done_before: None,
            batches: Vec::new(),
            failures: Vec::new(),
            fetched: None,
            canvas: Canvas::new(session.is_for_people()),
        }
    }

    /// Batches and failures, unless they were just fetched and are soon fetched again because hosts run. What cannot be had
    /// now is shown as it was.
    fn fetch(&mut self, has_failures: bool, will_move: bool) {
        let is_fresh = self.fetched.is_some_and(|at| at.elapsed() < REDRAW_PAUSE);
        if is_fresh && will_move || !matches!(self.canvas, Canvas::Screen(_)) {
            return;
        }
        self.fetched = Some(Instant::now());
        let batches = format!("{}/batches", self.path);
        if let Ok(batches) = pages::collect(&self.session.client, &batches, BATCHES_MAX) {
            self.batches = batches;
        }
        if has_failures
            && self.failures.len() < FAILURES_MAX
            && let Ok(rows) = report::rows(self.session, &self.path, Some("failed"), FAILURES_MAX)
        {
            self.failures = rows;
        }
    }
}

impl Watcher for Watch<'_> {
    fn show(&mut self, said: &Value) -> bool {
        let Some(progress) = HostCounts::of(said) else {
            return false;
        };
        let is_over = progress.is_finished();
        let done_before = *self.done_before.get_or_insert(progress.finished_hosts());
        // Where nothing runs the next event may be hours away, such as an approval: what is drawn now stays.
        self.fetch(progress.failed > 0, !is_over && progress.running > 0);
        let view = View {
            progress: said,
            batches: &self.batches,
            failures: &self.failures,
            watched: self.began.elapsed(),
            done_before,
        };
        self.canvas.draw(&view, progress);
        is_over
    }

    fn leave(&mut self) {
        if let Canvas::Screen(bar) = &self.canvas {
            bar.abandon();
        }
    }
}

impl Canvas {
    fn new(wanted: bool) -> Self {
        if !wanted {
            return Self::Nothing;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines(None);
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self::Screen(bar)
    }

    fn draw(&mut self, view: &View<'_>, progress: HostCounts) {
        match self {
            Self::Screen(bar) => bar.set_message(view.text()),
            Self::Lines(last) => {
                let state = ["status", "phase", "current_batch"]
                    .map(|name| output::field(view.progress, name))
                    .join(" ");
                let before = last.as_ref().map(|last| &last.progress);
                let has_moved = last.as_ref().is_none_or(|last| last.state != state);
                if has_moved || is_worth_a_line(before, &progress) {
                    eprintln!("{}", view.headline());
                    *last = Some(Last { progress, state });
                }
            }
            Self::Nothing => {}
        }
    }
}
