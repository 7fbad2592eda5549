//! Carries out one job, away from the journal: it tells `core` when a supervisor is there (and waits for the word to
//! go), and how it ended.

mod machine;
mod plans;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fleetwright_protocol::operation::DeployFile;
use fleetwright_protocol::outcome::FailureReason;
use fleetwright_protocol::{CommandId, NotStartedReason, Operation, Outcome};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};

use crate::blobs::Blobs;
use crate::config::{PolicySettings, SystemSettings};
use crate::job::Job;
use crate::journal::{Execution, PowerRun};
use crate::launch::{self, Launcher};
use crate::operations::deploy_file::{self, Content, Stop};
use crate::operations::{CannotRun, ending, power, run_script, secrets};
use crate::output::LiveOutput;
use crate::procfs::{self, Process};
use crate::run::{Run, RunChannels, RunEvent};
use crate::supervisor::exit_record::ExitRecord;
use crate::supervisor::spec::{RunSpec, SupervisorMessage};
use crate::{cgroup, clock, operate, run_folder};

/// Killed processes are gone in milliseconds, unless the kernel cannot end them.
const LEFTOVERS_PATIENCE: Duration = Duration::from_secs(10);

/// How late a deadline may be noticed after a step of the wall clock.
const DEADLINE_LOOK: Duration = Duration::from_secs(10);

/// What a job needs of its surroundings.
pub struct Executor {
    pub data_dir: PathBuf,
    pub policy: PolicySettings,
    pub system: SystemSettings,
    /// The account the agent runs as.
    pub own_user: String,
    pub launcher: Launcher,
    pub blobs: Blobs,
    pub cgroup_parent: Option<PathBuf>,
    pub live: LiveOutput,
}

/// How the last runner of a plan was left.
struct Part {
    /// What its supervisor said of it to this agent, if it did.
    record: Option<ExitRecord>,
    /// Its supervisor, if that was in this boot.
    session_id: Option<u32>,
    /// It was gone when this agent came.
    found: bool,
}

/// How a job came out.
enum Conclusion {
    NotStarted(NotStartedReason),
    Ended(Box<Outcome>),
}

impl Executor {
    /// Carries the job out where its execution says. The last event says how it came out.
    pub async fn carry_out(
        self: Arc<Self>,
        job: Job,
        run: Run,
        execution: Execution,
        channels: RunChannels,
    ) {
        let RunChannels { events, kill } = channels;
        if let Execution::Plan(plan) = execution {
            let conclusion = self.carry_out_plan(&job, run, plan, &events, kill).await;
            return self.conclude(run, conclusion, &events).await;
        }
        let power = execution.power();
        let conclusion = match &job.operation {
            Operation::RunScript(script) if job.options.dry_run => {
                Conclusion::Ended(Box::new(run_script::dry_run(script, &job.options)))
            }
            Operation::RunScript(_)
            | Operation::ServiceControl(_)
            | Operation::InstallPackage(_)
            | Operation::RemovePackage(_)
            | Operation::Reboot(_)
            | Operation::Shutdown(_) => self.supervise(&job, run, power, &events, kill).await,
            Operation::DeployFile(file) => {
                Conclusion::Ended(Box::new(self.deploy_file(file, &job, run, kill).await))
            }
            // `Job::execution` sends it elsewhere.
            Operation::ApplyDeploymentPlan(_) => {
                let outcome = Outcome::failed(FailureReason::AgentError, "this is a plan");
                Conclusion::Ended(Box::new(outcome))
            }
        };
        self.conclude(run, conclusion, &events).await;
    }

    /// Waits for a supervisor that an earlier agent started.
    async fn follow_adopted(
        self: Arc<Self>,
        supervisor: Process,
        run: Run,
        execution: Execution,
        channels: RunChannels,
    ) {
        let RunChannels { events, mut kill } = channels;
        if let Execution::Plan(_) = execution {
            self.provide_blobs(run);
        }
        let ended = launch::wait_for_end(supervisor.pid);
        tokio::pin!(ended);
        let mut killed = false;
        loop {
            tokio::select! {
                _ = &mut ended => break,
                () = kill_wanted(&mut kill), if !killed => {
                    killed = true;
                    launch::cancel(&supervisor);
                }
            }
        }
        let session_id = supervisor.pid;
        let conclusion = match execution {
            Execution::Plan(plan) => {
                let part = Part {
                    record: None,
                    session_id: Some(session_id),
                    found: false,
                };
                self.see_through(run, plan, part, &events, &mut kill).await
            }
            Execution::Supervised | Execution::InProcess | Execution::Power(_) => {
                let power = execution.power();
                self.settle(None, run, session_id, power, &mut kill).await
            }
        };
        self.conclude(run, conclusion, &events).await;
    }

    /// Waits on for a machine that an earlier agent told to go.
    async fn follow_power(
        self: Arc<Self>,
        run: Run,
        power: PowerRun,
        record: Option<ExitRecord>,
        events: mpsc::Sender<RunEvent>,
        mut kill: watch::Receiver<bool>,
    ) {
        let outcome = wait_for_boot(power, record, &mut kill).await;
        self.conclude(run, Conclusion::Ended(Box::new(outcome)), &events)
            .await;
    }

    /// Ends what is left of a run nobody supervises any more, and says that its outcome is unknown.
    async fn end_unknown(
        self: Arc<Self>,
        run: Run,
        session_id: Option<u32>,
        events: mpsc::Sender<RunEvent>,
    ) {
        let outcome = self.unknown(run, session_id).await;
        self.conclude(run, Conclusion::Ended(Box::new(outcome)), &events)
            .await;
    }

    /// Ends what is left of a run nobody will ask for, and removes its folder.
    async fn end_forgotten(self: Arc<Self>, run: Run) {
        self.unknown(run, None).await;
        run_folder::remove(&run_folder::path(
            &self.data_dir,
            run.command_id,
            run.attempt,
        ));
    }

    async fn supervise(
        &self,
        job: &Job,
        run: Run,
        power: Option<PowerRun>,
        events: &mpsc::Sender<RunEvent>,
        mut kill: watch::Receiver<bool>,
    ) -> Conclusion {
        let spec = match self.prepare(job, run).await {
            Ok(spec) => spec,
            Err(cannot) => return cannot_run(&cannot),
        };
        let (supervisor, record) = match self.run(spec, run, events, &mut kill).await {
            Ok(ended) => ended,
            Err(conclusion) => return conclusion,
        };
        self.settle(record, run, supervisor.pid, power, &mut kill)
            .await
    }

    /// Has a supervisor run this, once it is in the journal, and waits for the end. The error says how it came out
    /// that nothing was run.
    async fn run(
        &self,
        spec: RunSpec,
        run: Run,
        events: &mpsc::Sender<RunEvent>,
        kill: &mut watch::Receiver<bool>,
    ) -> Result<(Process, Option<ExitRecord>), Conclusion> {
        let (spec, mut channel) = self
            .launch(spec, run)
            .map_err(|cannot| cannot_run(&cannot))?;
        let ended_at_once = || Conclusion::Ended(Box::new(cannot_supervise("it ended at once")));
        let Some(SupervisorMessage::Ready { pid }) = launch::next_report(&mut channel).await else {
            return Err(ended_at_once());
        };
        // It waits for us, so it is there.
        let supervisor = procfs::process(pid).ok_or_else(ended_at_once)?;
        if *kill.borrow() {
            return Err(Conclusion::NotStarted(NotStartedReason::Cancelled));
        }
        let (go, may_go) = oneshot::channel();
        let launched = RunEvent::Launched {
            run,
            pid,
            start_ticks: supervisor.start_ticks,
            go,
        };
        // An agent that is shutting down hears nothing, and then nothing goes.
        let _ = events.send(launched).await;
        may_go
            .await
            .unwrap_or(Err(NotStartedReason::AgentRestarted))
            .map_err(Conclusion::NotStarted)?;
        if let Err(error) = send(&spec, &mut channel).await {
            tracing::warn!(command = %run.command_id, %error, "a supervisor did not take its run");
        }
        let record = self.follow(channel, &supervisor, run, kill).await;
        Ok((supervisor, record))
    }

    /// Writes the folder of the run and says what its supervisor is to do.
    async fn prepare(&self, job: &Job, run: Run) -> Result<RunSpec, CannotRun> {
        let folder = run_folder::path(&self.data_dir, run.command_id, run.attempt);
        if job.options.run_as.is_none() {
            return prepare(job, &self.system, run.command_id, &folder);
        }
        // The name service may have to ask over the network.
        let (job, system) = (job.clone(), self.system.clone());
        let prepared =
            tokio::task::spawn_blocking(move || prepare(&job, &system, run.command_id, &folder));
        prepared.await.unwrap_or_else(|error| {
            Err(CannotRun::Refused(format!(
                "preparing was aborted: {error}"
            )))
        })
    }

    fn launch(&self, mut spec: RunSpec, run: Run) -> Result<(RunSpec, UnixStream), CannotRun> {
        let folder = run_folder::path(&self.data_dir, run.command_id, run.attempt);
        if let Some(parent) = &self.cgroup_parent {
            spec.cgroup = cgroup::create(parent, run.command_id, run.attempt);
        }
        let channel = self
            .launcher
            .launch(&folder, run.command_id)
            .map_err(|error| CannotRun::because("cannot start a supervisor", &error))?;
        Ok((spec, channel))
    }

    /// Passes output on until the supervisor ends. Returns the record it sent last, if it did.
    async fn follow(
        &self,
        mut channel: UnixStream,
        supervisor: &Process,
        run: Run,
        kill: &mut watch::Receiver<bool>,
    ) -> Option<ExitRecord> {
        let mut killed = false;
        loop {
            let next = launch::next_report(&mut channel);
            tokio::pin!(next);
            let report = loop {
                tokio::select! {
                    report = &mut next => break report,
                    () = kill_wanted(kill), if !killed => {
                        killed = true;
                        launch::cancel(supervisor);
                    }
                }
            };
            match report {
                Some(SupervisorMessage::Output {
                    stream,
                    offset,
                    data,
                }) => {
                    self.live.send(run.command_id, stream, offset, data);
                }
                Some(SupervisorMessage::Ready { .. }) => {}
                Some(SupervisorMessage::Ended(record)) => {
                    if let Some(record) = ExitRecord::decode(&record) {
                        return Some(record);
                    }
                }
                None => return None,
            }
        }
    }

    /// What came of a run whose supervisor has gone: from the record it sent, or else left in its folder. `session_id`
    /// was its process.
    async fn settle(
        &self,
        record: Option<ExitRecord>,
        run: Run,
        session_id: u32,
        power: Option<PowerRun>,
        kill: &mut watch::Receiver<bool>,
    ) -> Conclusion {
        let folder = run_folder::path(&self.data_dir, run.command_id, run.attempt);
        let outcome = match (record.or_else(|| ExitRecord::read(&folder)), power) {
            (Some(record), Some(power)) if power::was_asked(&record) => {
                wait_for_boot(power, Some(record), kill).await
            }
            (Some(record), _) => return conclusion(record),
            // It may have told the machine, and that may be why it was lost.
            (None, Some(power)) => wait_for_boot(power, None, kill).await,
            (None, None) => self.unknown(run, Some(session_id)).await,
        };
        Conclusion::Ended(Box::new(outcome))
    }

    async fn unknown(&self, run: Run, session_id: Option<u32>) -> Outcome {
        let message = if self.end_leftovers(run, session_id).await {
            "the run was lost; none of its processes is left"
        } else {
            "the run was lost; some of its processes could not be ended"
        };
        Outcome::failed(FailureReason::OutcomeUnknown, message)
    }

    /// Ends every process of a run that nobody supervises. Returns whether none is left.
    async fn end_leftovers(&self, run: Run, session_id: Option<u32>) -> bool {
        let parent = self.cgroup_parent.as_ref();
        let group = parent.map(|parent| cgroup::of_run(parent, run.command_id, run.attempt));
        launch::end_leftovers(run.command_id, session_id, group, LEFTOVERS_PATIENCE).await
    }

    async fn deploy_file(
        &self,
        file: &DeployFile,
        job: &Job,
        run: Run,
        mut kill: watch::Receiver<bool>,
    ) -> Outcome {
        let limit = Duration::from_secs(job.timeout_seconds);
        let stop = Arc::new(Stop::after_seconds(job.timeout_seconds));
        let fetched = tokio::select! {
            content = tokio::time::timeout(limit, self.content(file, job)) => content,
            () = kill_wanted(&mut kill) => {
                return Outcome::failed(FailureReason::Cancelled, "cancelled before anything was replaced");
            }
        };
        let content = match fetched {
            Ok(Ok(content)) => content,
            Ok(Err(why)) => return Outcome::failed(FailureReason::AgentError, why),
            Err(_) => {
                return Outcome::failed(FailureReason::TimedOut, "the blob did not come in time");
            }
        };
        let id = format!("{}-{}", run.command_id, run.attempt);
        let (file, options, stop_there) = (file.clone(), job.options.clone(), Arc::clone(&stop));
        let work = tokio::task::spawn_blocking(move || {
            deploy_file::deploy(&file, &options, content, &id, &stop_there)
        });
        tokio::pin!(work);
        let done = tokio::select! {
            done = &mut work => done,
            () = kill_wanted(&mut kill) => {
                stop.cancel();
                work.await
            }
        };
        done.unwrap_or_else(|error| {
            Outcome::failed(
                FailureReason::OutcomeUnknown,
                format!("the deployment was aborted: {error}"),
            )
        })
    }

    /// The last thing of every job, however it ended: from here on no secret of it is left.
    async fn conclude(&self, run: Run, conclusion: Conclusion, events: &mpsc::Sender<RunEvent>) {
        let folder = run_folder::path(&self.data_dir, run.command_id, run.attempt);
        secrets::forget(&folder);
        let event = match conclusion {
            Conclusion::NotStarted(reason) => RunEvent::NotStarted { run, reason },
            Conclusion::Ended(outcome) => RunEvent::Ended { run, outcome },
        };
        // Without a listener the agent is shutting down; the exit record tells the next one.
        let _ = events.send(event).await;
    }

    async fn content(&self, file: &DeployFile, job: &Job) -> Result<Content, String> {
        let carried = Content::carried(file, &job.secrets).map_err(|error| error.to_string())?;
        match (carried, &file.blob_sha256) {
            (Some(content), _) => Ok(content),
            (None, Some(sha256)) => {
                let blob = self.blobs.fetch(sha256, &self.data_dir).await;
                let what = if job.options.dry_run {
                    "cannot compare with"
                } else {
                    "cannot fetch"
                };
                blob.map_err(|error| format!("{what} the blob {sha256}: {error}"))
            }
            (None, None) => Err("the operation carries no content".to_owned()),
        }
    }
}

/// Makes the folder of a run and says what its supervisor is to run.
fn prepare(
    job: &Job,
    system: &SystemSettings,
    command_id: CommandId,
    folder: &Path,
) -> Result<RunSpec, CannotRun> {
    match &job.operation {
        Operation::RunScript(script) => run_script::prepare(
            script,
            &job.options,
            &job.secrets,
            command_id,
            folder,
            job.timeout_seconds,
        ),
        Operation::DeployFile(_)
        | Operation::ServiceControl(_)
        | Operation::InstallPackage(_)
        | Operation::RemovePackage(_)
        | Operation::Reboot(_)
        | Operation::Shutdown(_)
        | Operation::ApplyDeploymentPlan(_) => operate::prepare(job, system, command_id, folder),
    }
}

/// Waits until the machine should long have gone. If it goes, nobody hears the outcome: the next agent finds another
/// boot.
async fn wait_for_boot(
    power: PowerRun,
    record: Option<ExitRecord>,
    kill: &mut watch::Receiver<bool>,
) -> Outcome {
    loop {
        let left_ms = power.deadline_unix_ms.saturating_sub(clock::unix_ms());
        if left_ms == 0 {
            return power::never_came(power, record);
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(left_ms).min(DEADLINE_LOOK)) => {}
            () = kill_wanted(kill) => return power::given_up(record),
        }
    }
}

async fn send(spec: &RunSpec, channel: &mut UnixStream) -> std::io::Result<()> {
    channel.write_all(&spec.encode()?).await
}

fn conclusion(record: ExitRecord) -> Conclusion {
    match ending::outcome(record) {
        Some(outcome) => Conclusion::Ended(Box::new(outcome)),
        None => Conclusion::NotStarted(NotStartedReason::AgentRestarted),
    }
}

fn cannot_run(cannot: &CannotRun) -> Conclusion {
    match cannot {
        CannotRun::DiskFull => Conclusion::NotStarted(NotStartedReason::DiskFull),
        CannotRun::Refused(_) => Conclusion::Ended(Box::new(cannot.outcome())),
    }
}

fn cannot_supervise(why: &str) -> Outcome {
    Outcome::failed(
        FailureReason::AgentError,
        format!("the run's supervisor could not work: {why}"),
    )
}

/// Resolves when somebody wants the run killed; never, if nobody can any more.
async fn kill_wanted(kill: &mut watch::Receiver<bool>) {
    if kill.wait_for(|wanted| *wanted).await.is_err() {
        std::future::pending::<()>().await;
    }
}
