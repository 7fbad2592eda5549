//! The runner: the process that carries out a plan, one step after the other. It can be started again at any time after
//! any end, and goes on where the log says; what was begun it never begins again.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use fleetwright_protocol::frame::Stream;
use fleetwright_protocol::operation::{DeployFile, Operation, RunScript};
use fleetwright_protocol::outcome::FailureReason;
use fleetwright_protocol::{CommandId, HealthCheck, Outcome};

use super::decide::{self, Contents, Next};
use super::log::Log;
use super::order::{self, Launch};
use super::progress::{CheckResult, LogEntry, PlanProgress, StepResult};
use super::{blobs, cut_off, earlier, step};
use crate::config::SystemSettings;
use crate::job::Job;
use crate::journal::PowerRun;
use crate::operations::deploy_file::{self, Content, Stop, undo};
use crate::operations::result::OperationResult;
use crate::operations::{CannotRun, ending, power, run_script, secrets};
use crate::supervisor::exit_record::ExitRecord;
use crate::supervisor::spec::RunSpec;
use crate::{clock, operate, run_folder};

/// Carries out the plan in `folder`, as far as it comes in this boot.
pub fn main(folder: &Path) -> ExitCode {
    let done = Runner::new(folder).and_then(|mut runner| {
        if runner.is_first {
            runner.note(LogEntry::Opened)?;
            runner.wait_for_blobs()?;
        } else {
            earlier::print(folder);
        }
        runner.run()
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            // The words are in the output all the same.
            let _ =
                OperationResult::of(Outcome::failed(FailureReason::AgentError, why)).write(folder);
            ExitCode::FAILURE
        }
    }
}

struct Runner {
    folder: PathBuf,
    command_id: CommandId,
    job: Job,
    system: SystemSettings,
    plan: Contents,
    launch: Launch,
    log: Log,
    progress: PlanProgress,
    /// No runner was here before.
    is_first: bool,
    /// On the monotonic clock.
    started_ms: u64,
}

/// The error is a sentence for a person.
type Done<T> = Result<T, String>;

impl Runner {
    fn new(folder: &Path) -> Done<Self> {
        let (mut job, system) = operate::read(folder)?;
        job.secrets = secrets::kept(folder)
            .map_err(|error| format!("cannot read the plan's secrets: {error}"))?;
        let launch = order::read_launch(folder)?;
        let name = folder.file_name().and_then(|name| name.to_str());
        let (command_id, _) = name
            .and_then(run_folder::parse_name)
            .ok_or("the folder is not one of a run")?;
        let (log, entries) =
            Log::open(folder).map_err(|error| format!("cannot open the plan's log: {error}"))?;
        let plan = Contents::of(&job.operation, &job.options);
        let progress = PlanProgress::of(plan.steps.len(), &entries);
        Ok(Self {
            folder: folder.to_owned(),
            command_id,
            job,
            system,
            plan,
            launch,
            log,
            progress,
            is_first: entries.is_empty(),
            started_ms: clock::monotonic_ms(),
        })
    }

    fn run(&mut self) -> Done<()> {
        loop {
            let out_of_time = self.left_ms(self.launch.operation_ms) == 0;
            match decide::next(
                &self.plan,
                &self.progress,
                &self.launch.boot_id,
                out_of_time,
            ) {
                Next::Begin(step) => self.begin(step)?,
                Next::Skip(step, why) => self.note(LogEntry::Skipped { step, why })?,
                Next::Returned(step, kind) => {
                    let run = PowerRun {
                        kind,
                        deadline_unix_ms: self.launch.deadline_unix_ms,
                    };
                    let outcome = power::returned(run, None, clock::unix_ms());
                    let result = Box::new(StepResult::of(outcome));
                    self.note(LogEntry::Ended { step, result })?;
                }
                Next::Restore(saved) => {
                    let file = self.progress.saved.get(saved);
                    let trouble = file.and_then(|file| cut_off::restore(file, &self.folder));
                    self.note(LogEntry::Restored { saved, trouble })?;
                }
                Next::Check => match self.plan.options.health_check.clone() {
                    Some(check) => {
                        let result = Box::new(self.check(&check));
                        self.note(LogEntry::Checked { result })?;
                    }
                    None => return Ok(()),
                },
                Next::OutOfTime => {
                    let message = "ran out of time before all steps were run".to_owned();
                    let reason = FailureReason::TimedOut;
                    self.note(LogEntry::Cut { reason, message })?;
                }
                // The agent sees to the rest.
                Next::AwaitBoot(..) | Next::Lost(_) | Next::Conclude => return Ok(()),
            }
        }
    }

    fn begin(&mut self, step: usize) -> Done<()> {
        let Some(operation) = self
            .plan
            .steps
            .get(step)
            .map(|step| (*step.operation).clone())
        else {
            return Ok(());
        };
        let boot_id = self.launch.boot_id.clone();
        self.note(LogEntry::Begun { step, boot_id })?;
        let result = match &operation {
            Operation::DeployFile(file) => Some(self.deploy(step, file)?),
            Operation::RunScript(script) if self.job.options.dry_run => Some(StepResult::of(
                run_script::dry_run(script, &self.job.options),
            )),
            Operation::RunScript(_)
            | Operation::ServiceControl(_)
            | Operation::InstallPackage(_)
            | Operation::RemovePackage(_)
            | Operation::Reboot(_)
            | Operation::Shutdown(_)
            | Operation::ApplyDeploymentPlan(_) => self.supervise(step, &operation),
        };
        let Some(result) = result else {
            return self.note(LogEntry::Told { step });
        };
        let result = Box::new(result);
        self.note(LogEntry::Ended { step, result })
    }

    /// Runs a step in a process of its own. `None` if the machine was told to go.
    fn supervise(&self, step: usize, operation: &Operation) -> Option<StepResult> {
        let folder = self.folder.join(format!("step-{step}"));
        let left_ms = self.left_ms(self.launch.operation_ms);
        let spec = self.spec(operation, &folder).map(|spec| RunSpec {
            passes_on: true,
            timeout_ms: left_ms,
            ..spec
        });
        let record = match spec {
            Ok(spec) => step::supervise(&spec, &folder),
            Err(cannot) => return Some(StepResult::of(cannot.outcome())),
        };
        let is_power = self.plan.power(step).is_some();
        let result = match record {
            Ok(Some(record)) if is_power && power::was_asked(&record) => None,
            Ok(Some(record)) => Some(result_of(record, &folder)),
            Ok(None) => {
                let message = "its supervisor was lost, and what became of it with it";
                let outcome = Outcome::failed(FailureReason::OutcomeUnknown, message);
                Some(StepResult::of(outcome))
            }
            Err(error) => {
                let cannot = CannotRun::because("cannot start a supervisor", &error);
                Some(StepResult::of(cannot.outcome()))
            }
        };
        run_folder::remove(&folder);
        result
    }

    fn spec(&self, operation: &Operation, folder: &Path) -> Result<RunSpec, CannotRun> {
        match operation {
            Operation::RunScript(script) => {
                let options = &self.job.options;
                let values = &self.job.secrets;
                run_script::prepare(script, options, values, self.command_id, folder, 0)
            }
            Operation::DeployFile(_)
            | Operation::ServiceControl(_)
            | Operation::InstallPackage(_)
            | Operation::RemovePackage(_)
            | Operation::Reboot(_)
            | Operation::Shutdown(_)
            | Operation::ApplyDeploymentPlan(_) => {
                let mut options = self.job.options.clone();
                options.health_check = None;
                let job = Job {
                    operation: operation.clone(),
                    options,
                    timeout_seconds: self.job.timeout_seconds,
                    secrets: self.job.secrets.clone(),
                };
                operate::prepare(&job, &self.system, self.command_id, folder)
            }
        }
    }

    /// What stood there is saved first if it may have to be put back.
    fn deploy(&mut self, step: usize, file: &DeployFile) -> Done<StepResult> {
        let cannot = |why: String| StepResult::of(Outcome::failed(FailureReason::AgentError, why));
        if self.plan.may_roll_back() {
            match undo::save(&file.path, &self.folder, &secrets::saved_name(step)) {
                Ok(undo) => self.note(LogEntry::Saved { step, undo })?,
                Err(why) => return Ok(cannot(why)),
            }
        }
        let content = match (Content::carried(file, &self.job.secrets), &file.blob_sha256) {
            (Ok(Some(content)), _) => Ok(content),
            (Ok(None), Some(sha256)) => blobs::open(&self.folder, sha256),
            (Ok(None), None) => Err("the step carries no content".to_owned()),
            (Err(missing), _) => Err(missing.to_string()),
        };
        let content = match content {
            Ok(content) => content,
            Err(why) => return Ok(cannot(why)),
        };
        let stop = Stop::after_ms(self.left_ms(self.launch.operation_ms));
        let id = cut_off::deployment_id(&self.folder);
        let outcome = deploy_file::deploy(file, &self.job.options, content, &id, &stop);
        Ok(StepResult::of(outcome))
    }

    fn check(&self, check: &HealthCheck) -> CheckResult {
        let began_ms = clock::monotonic_ms();
        let mut result = CheckResult {
            passed: false,
            tries: 0,
            exit_code: None,
            message: "there was no time left for the health check".to_owned(),
            duration_ms: 0,
            output_tail: String::new(),
        };
        let mut pause_seconds = check.soak_seconds;
        while !result.passed && result.tries <= check.retries {
            let left_ms = self.left_ms(self.launch.run_ms);
            let pause_ms = pause_seconds.saturating_mul(1_000);
            if left_ms <= pause_ms {
                break;
            }
            pause(Duration::from_millis(pause_ms));
            pause_seconds = check.interval_seconds;
            let limit_ms = check.timeout_seconds.saturating_mul(1_000);
            self.try_check(check, limit_ms.min(left_ms - pause_ms), &mut result);
        }
        if result.tries > 0 && !result.passed {
            result.message = format!(
                "the health check failed ({} of {} tries): {}",
                result.tries,
                check.retries.saturating_add(1),
                result.message
            );
        }
        result.duration_ms = clock::monotonic_ms().saturating_sub(began_ms);
        result
    }

    fn try_check(&self, check: &HealthCheck, timeout_ms: u64, result: &mut CheckResult) {
        result.tries += 1;
        let script = RunScript {
            script: check.script.clone(),
            interpreter: "/bin/sh".to_owned(),
            args: Vec::new(),
            env: std::collections::BTreeMap::new(),
            stdin: None,
            stdin_secret: None,
        };
        let folder = self.folder.join("check");
        let (options, values) = (&self.job.options, &self.job.secrets);
        let prepared = run_script::prepare(&script, options, values, self.command_id, &folder, 0);
        let record = prepared
            .map_err(|cannot| cannot.to_string())
            .and_then(|spec| {
                let spec = RunSpec { timeout_ms, ..spec };
                step::supervise(&spec, &folder).map_err(|error| error.to_string())
            });
        match record {
            Ok(Some(record)) => {
                let ended = result_of(record, &folder);
                result.passed = ended.succeeded;
                result.exit_code = ended.exit_code;
                result.message = ended.message;
                let tails = [ended.stdout_tail, ended.stderr_tail];
                result.output_tail = tails.concat();
            }
            Ok(None) => "its supervisor was lost".clone_into(&mut result.message),
            Err(why) => result.message = why,
        }
        run_folder::remove(&folder);
    }

    fn wait_for_blobs(&mut self) -> Done<()> {
        let limit_ms = self.launch.operation_ms;
        let started_ms = self.started_ms;
        let came = blobs::wait(&self.folder, &self.plan, || {
            pause(blobs::LOOK);
            clock::monotonic_ms().saturating_sub(started_ms) < limit_ms
        });
        match came {
            Ok(()) => Ok(()),
            Err((reason, message)) => self.note(LogEntry::Cut { reason, message }),
        }
    }

    /// What is left of so many milliseconds from this start.
    fn left_ms(&self, limit_ms: u64) -> u64 {
        limit_ms.saturating_sub(clock::monotonic_ms().saturating_sub(self.started_ms))
    }

    /// On disk before anything that follows from it.
    fn note(&mut self, entry: LogEntry) -> Done<()> {
        self.progress.apply(&entry);
        self.log
            .append(&entry)
            .map_err(|error| format!("cannot write the plan's log: {error}"))
    }
}

fn result_of(record: ExitRecord, folder: &Path) -> StepResult {
    let stdout_tail = step::tail(&record.stdout, folder, Stream::Stdout);
    let stderr_tail = step::tail(&record.stderr, folder, Stream::Stderr);
    let outcome = ending::outcome(record).unwrap_or_else(|| {
        Outcome::failed(FailureReason::AgentError, "its supervisor did not start it")
    });
    StepResult {
        stdout_tail,
        stderr_tail,
        ..StepResult::of(outcome)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a pause is what is asked for, and this process has nothing else to do"
)]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
