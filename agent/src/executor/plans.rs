//! Plans: starting their runner, and dealing with what its log says whenever it has gone, in this life of the agent or
//! an earlier one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fleetwright_protocol::outcome::FailureReason;
use fleetwright_protocol::{NotStartedReason, Outcome};
use tokio::sync::{mpsc, watch};

use super::{Conclusion, DEADLINE_LOOK, Executor, Part, cannot_run, kill_wanted};
use crate::job::Job;
use crate::journal::{PlanRun, PowerKind};
use crate::operations::CannotRun;
use crate::operations::result::OwnResult;
use crate::plan::decide::{self, Contents, Next};
use crate::plan::order::{self, Launch};
use crate::plan::progress::{LogEntry, PlanProgress, StepResult};
use crate::plan::{blobs, cut_off, earlier, log, report};
use crate::run::{Run, RunChannels, RunEvent};
use crate::supervisor::exit_record::{Ending, ExitRecord};
use crate::{clock, facts, operate, run_folder};

/// What is known of a plan.
struct View {
    job: Job,
    plan: Contents,
    progress: PlanProgress,
    untouched: bool,
}

impl Executor {
    /// The first start.
    pub(super) async fn carry_out_plan(
        self: &Arc<Self>,
        job: &Job,
        run: Run,
        plan: PlanRun,
        events: &mpsc::Sender<RunEvent>,
        mut kill: watch::Receiver<bool>,
    ) -> Conclusion {
        let (wanted, system, folder) = (job.clone(), self.system.clone(), self.folder_of(run));
        // The name service may have to ask over the network.
        let written =
            tokio::task::spawn_blocking(move || order::prepare(&wanted, &system, &folder)).await;
        let written = written.unwrap_or_else(|error| Err(CannotRun::Refused(error.to_string())));
        if let Err(cannot) = written {
            return cannot_run(&cannot);
        }
        match self.run_part(job, run, plan, events, &mut kill).await {
            Ok(part) => self.see_through(run, plan, part, events, &mut kill).await,
            Err(conclusion) => conclusion,
        }
    }

    /// After a restart of the agent that found no supervisor.
    pub(super) async fn go_on_with_plan(
        self: Arc<Self>,
        run: Run,
        plan: PlanRun,
        session_id: Option<u32>,
        channels: RunChannels,
    ) {
        let RunChannels { events, mut kill } = channels;
        let part = Part {
            record: None,
            session_id,
            found: true,
        };
        let conclusion = self.see_through(run, plan, part, &events, &mut kill).await;
        self.conclude(run, conclusion, &events).await;
    }

    /// Does what the log calls for, each time a runner has gone, until there is an outcome.
    pub(super) async fn see_through(
        self: &Arc<Self>,
        run: Run,
        plan: PlanRun,
        mut part: Part,
        events: &mpsc::Sender<RunEvent>,
        kill: &mut watch::Receiver<bool>,
    ) -> Conclusion {
        loop {
            let Part {
                record,
                session_id,
                found,
            } = part;
            let record = record.or_else(|| ExitRecord::read(&self.folder_of(run)));
            if record.is_none() && (session_id.is_some() || !found) {
                // A runner without a supervisor may be at work still: what the log says would not last.
                self.end_leftovers(run, session_id).await;
            }
            let view = match self.view(run).await {
                Ok(view) => view,
                Err(why) => return unreadable(&why),
            };
            let never_started = match record.as_ref().map(|record| &record.ending) {
                Some(Ending::NeverStarted) => true,
                Some(_) | None => false,
            };
            if view.untouched && never_started {
                return Conclusion::NotStarted(NotStartedReason::AgentRestarted);
            }
            let record = record.filter(|_| !never_started);
            match decide::next(&view.plan, &view.progress, &self.boot_id(), false) {
                Next::Conclude => return self.outcome(run, &view, record).await,
                Next::AwaitBoot(_, kind) => {
                    if let Err(conclusion) = self.await_power(run, plan, kind, &view, kill).await {
                        return conclusion;
                    }
                    part = Part {
                        record,
                        session_id,
                        found,
                    };
                    continue;
                }
                Next::Lost(step) => return self.lost(run, view, step, record, session_id).await,
                Next::Returned(..) => {}
                Next::Begin(_)
                | Next::Skip(..)
                | Next::Restore(_)
                | Next::Check
                | Next::OutOfTime => {
                    if record.is_some() || !found {
                        return ended_early(&view, record);
                    }
                }
            }
            if let Err(error) = earlier::put_aside(&self.folder_of(run)) {
                return unreadable(&error.to_string());
            }
            part = match self.run_part(&view.job, run, plan, events, kill).await {
                Ok(part) => part,
                Err(conclusion) => return self.cannot_go_on(run, conclusion).await,
            };
        }
    }

    /// One life of the runner.
    async fn run_part(
        self: &Arc<Self>,
        job: &Job,
        run: Run,
        plan: PlanRun,
        events: &mpsc::Sender<RunEvent>,
        kill: &mut watch::Receiver<bool>,
    ) -> Result<Part, Conclusion> {
        let operation_ms = plan.deadline_unix_ms.saturating_sub(clock::unix_ms());
        let check_ms =
            fleetwright_protocol::time_limit::check_seconds(&job.options).saturating_mul(1_000);
        let launch = Launch {
            boot_id: self.boot_id(),
            operation_ms,
            run_ms: operation_ms.saturating_add(check_ms),
            deadline_unix_ms: plan.deadline_unix_ms,
        };
        let spec = order::launch(run.command_id, &self.folder_of(run), &launch)
            .map_err(|cannot| cannot_run(&cannot))?;
        self.provide_blobs(run);
        let (supervisor, record) = self.run(spec, run, events, kill).await?;
        Ok(Part {
            record,
            session_id: Some(supervisor.pid),
            found: false,
        })
    }

    /// Fetches the blobs of a plan while its runner waits for them.
    pub(super) fn provide_blobs(self: &Arc<Self>, run: Run) {
        let executor = Arc::clone(self);
        tokio::spawn(async move {
            if let Ok(view) = executor.view(run).await {
                let folder = executor.folder_of(run);
                blobs::provide(&executor.blobs, &folder, &view.plan).await;
            }
        });
    }

    /// Waits until the machine should long have gone, or nobody wants it any more; then the plan is cut off. If it
    /// goes, the next agent finds another boot.
    async fn await_power(
        &self,
        run: Run,
        plan: PlanRun,
        kind: PowerKind,
        view: &View,
        kill: &mut watch::Receiver<bool>,
    ) -> Result<(), Conclusion> {
        let (reason, message) = loop {
            let left_ms = plan.deadline_unix_ms.saturating_sub(clock::unix_ms());
            if left_ms == 0 {
                let what = match kind {
                    PowerKind::Reboot => "the host did not restart in time",
                    PowerKind::Shutdown => "the host did not shut down in time",
                };
                break (FailureReason::TimedOut, what);
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(left_ms).min(DEADLINE_LOOK)) => {}
                () = kill_wanted(kill) => {
                    let what = "cancelled after the host had been told, which cannot be taken back";
                    break (FailureReason::Cancelled, what);
                }
            }
        };
        self.cut_off(run, reason, message).await.map_err(|error| {
            let mut progress = view.progress.clone();
            cut(&mut progress, reason, &format!("{message} ({error})"));
            Conclusion::Ended(Box::new(report::outcome(&view.plan, &progress)))
        })
    }

    async fn cut_off(
        &self,
        run: Run,
        reason: FailureReason,
        message: &'static str,
    ) -> Result<(), String> {
        let folder = self.folder_of(run);
        let work =
            tokio::task::spawn_blocking(move || cut_off::cut_off(&folder, reason, message)).await;
        match work {
            Ok(done) => done.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A plan that stood between two steps and was not let go on.
    async fn cannot_go_on(&self, run: Run, conclusion: Conclusion) -> Conclusion {
        let (reason, message) = match conclusion {
            Conclusion::NotStarted(NotStartedReason::Cancelled) => (
                FailureReason::Cancelled,
                "cancelled before the plan went on",
            ),
            // The agent is going down; the next one tries again.
            Conclusion::NotStarted(NotStartedReason::AgentRestarted) => {
                return std::future::pending().await;
            }
            Conclusion::NotStarted(_) => (
                FailureReason::AgentError,
                "the plan cannot go on: its start could not be written to disk",
            ),
            ended @ Conclusion::Ended(_) => return ended,
        };
        // What the log does not take is said all the same.
        let _ = self.cut_off(run, reason, message).await;
        match self.view(run).await {
            Ok(mut view) => {
                cut(&mut view.progress, reason, message);
                Conclusion::Ended(Box::new(report::outcome(&view.plan, &view.progress)))
            }
            Err(why) => unreadable(&why),
        }
    }

    /// A step was begun, and nobody knows whether it ended. Nothing is put back: it may have succeeded.
    async fn lost(
        &self,
        run: Run,
        mut view: View,
        step: usize,
        record: Option<ExitRecord>,
        session_id: Option<u32>,
    ) -> Conclusion {
        let unknown = self.unknown(run, session_id).await;
        cut_off::clear_up(&self.folder_of(run), &view.plan, step);
        cut(
            &mut view.progress,
            FailureReason::OutcomeUnknown,
            &unknown.message,
        );
        let outcome = report::outcome(&view.plan, &view.progress);
        Conclusion::Ended(Box::new(with_output(outcome, record)))
    }

    async fn outcome(&self, run: Run, view: &View, record: Option<ExitRecord>) -> Conclusion {
        let outcome = report::outcome(&view.plan, &view.progress);
        if outcome.reason == Some(FailureReason::OutcomeUnknown) {
            // The supervisor of a step was lost: what it watched over may still run.
            self.unknown(run, None).await;
        }
        Conclusion::Ended(Box::new(with_output(outcome, record)))
    }

    async fn view(&self, run: Run) -> Result<View, String> {
        let folder = self.folder_of(run);
        let read = tokio::task::spawn_blocking(move || {
            let (job, _) = operate::read(&folder)?;
            let entries = log::read(&folder)
                .map_err(|error| format!("cannot read the plan's log: {error}"))?;
            let plan = Contents::of(&job.operation, &job.options);
            let progress = PlanProgress::of(plan.steps.len(), &entries);
            let untouched = entries.is_empty();
            Ok(View {
                job,
                plan,
                progress,
                untouched,
            })
        });
        read.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    fn boot_id(&self) -> String {
        facts::boot_id(self.system.boot_id_file())
    }

    fn folder_of(&self, run: Run) -> PathBuf {
        run_folder::path(&self.data_dir, run.command_id, run.attempt)
    }
}

/// In memory only, for what is told.
fn cut(progress: &mut PlanProgress, reason: FailureReason, message: &str) {
    if let Some(step) = progress.under_way() {
        let result = Box::new(StepResult::of(Outcome::failed(reason, message)));
        progress.apply(&LogEntry::Ended { step, result });
    }
    let message = message.to_owned();
    progress.apply(&LogEntry::Cut { reason, message });
}

/// The runner has gone with something left to do, and nobody cut it off.
fn ended_early(view: &View, record: Option<ExitRecord>) -> Conclusion {
    let mut message = "the plan's own process ended before the plan".to_owned();
    if let Some(record) = &record {
        match (&record.ending, &record.result) {
            (Ending::CannotRun { why }, _) => message = why.clone(),
            (_, OwnResult::Left(result)) => message = result.message.clone(),
            (_, OwnResult::Missing | OwnResult::NotExpected) => {}
        }
    }
    let mut progress = view.progress.clone();
    cut(&mut progress, FailureReason::AgentError, &message);
    let outcome = report::outcome(&view.plan, &progress);
    Conclusion::Ended(Box::new(with_output(outcome, record)))
}

fn unreadable(why: &str) -> Conclusion {
    let outcome = Outcome::failed(FailureReason::OutcomeUnknown, why);
    Conclusion::Ended(Box::new(outcome))
}

fn with_output(mut outcome: Outcome, record: Option<ExitRecord>) -> Outcome {
    let Some(record) = record else {
        return outcome;
    };
    if !record.output_trouble.is_empty() {
        outcome.message = format!("{}; {}", outcome.message, record.output_trouble);
    }
    Outcome {
        duration_ms: outcome.duration_ms.max(record.duration_ms),
        stdout: record.stdout,
        stderr: record.stderr,
        ..outcome
    }
}
