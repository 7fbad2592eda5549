//! One attempt at a job: from its claim to what becomes of it.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::client::ClientError;
use crate::failure::Failure;

use super::command::{Ended, Running};
use super::floor::{Claim, Floor, Notice};
use super::job::Job;
use super::journal::Journal;
use super::office::{BackOff, Office, Unsaid};
use super::said::{self, Listener, Said};

/// How often its command is looked after.
const TICK: Duration = Duration::from_millis(100);
/// Between asking a command to end and ending it.
const KILL_AFTER: Duration = Duration::from_secs(3);
/// A lease is at most this old without having been renewed: the server's default.
const LEASE: Duration = Duration::from_secs(900);
/// Whoever stops waits no longer than this for a server that does not answer.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(10);

/// What jobs are done with.
pub struct Order {
    pub command: Vec<OsString>,
    /// When the worker stops, for so long a command may still end by itself.
    pub grace: Duration,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    Shipped,
    Failed(String),
    /// Queued again, with its checkpoint.
    GivenBack,
    /// A person reviews it.
    HandedOver,
    /// It was preempted, cancelled or reaped.
    Lost,
    /// The server does not answer, or does not take it.
    Untold(String),
}

/// Why the attempt is over before its command is.
enum Gone {
    Lost,
    Untold(String),
}

pub struct Attempt<'a> {
    pub office: &'a Office<'a>,
    pub floor: &'a Floor,
    pub journal: Journal,
    pub order: &'a Order,
    pub job: &'a Job,
    pub claim: Claim,
    pub notices: Receiver<Notice>,
    pub progress: Progress,
}

#[derive(Default)]
pub struct Progress {
    /// When it learned that the worker stops.
    stopped: Option<Instant>,
    handed_over: bool,
    spendings: u64,
}

impl Attempt<'_> {
    pub fn run(mut self) -> Ending {
        let ending = match self.work() {
            Ok(ending) => ending,
            Err(Gone::Lost) => Ending::Lost,
            Err(Gone::Untold(why)) => Ending::Untold(why),
        };
        self.floor.put_down(
            &self.claim,
            matches!(ending, Ending::Shipped | Ending::HandedOver),
        );
        ending
    }

    fn work(&mut self) -> Result<Ending, Gone> {
        self.look(Duration::ZERO)?;
        if self.progress.stopped.is_some() {
            return self.give_back();
        }
        self.report(&json!({ "stage": "building" }))?;
        let started = Instant::now();
        let (folder, mut listener, mut running) = match self.start() {
            Ok(started) => started,
            Err(failure) => {
                // No fault of the job's; the next one would fare no better.
                self.floor.fail(failure);
                return self.give_back();
            }
        };
        self.floor.set_group(&self.claim, Some(running.group()));
        let watched = self.watch(&mut running, &mut listener);
        if watched.is_err() {
            end_politely(&running);
        }
        self.floor.set_group(&self.claim, None);
        let ended = running.end();
        let told_to_end = watched?;
        let ended = ended.map_err(|error| Gone::Untold(error.to_string()))?;
        self.drain(&mut listener)?;
        drop(folder);
        self.conclude(&ended, told_to_end, started.elapsed())
    }

    fn start(&self) -> Result<(TempDir, Listener, Running), Failure> {
        let folder = tempfile::Builder::new()
            .prefix("fleetwright-job-")
            .tempdir()
            .map_err(Failure::file("a folder for the job"))?;
        let within = |name: &str| folder.path().join(name);
        let (report, input) = (within("report"), within("job.json"));
        let listener =
            Listener::at(&report).map_err(Failure::file(report.display().to_string()))?;
        let input = write_input(&input, &self.job.all)
            .map_err(Failure::file(input.display().to_string()))?;
        let environment = self.job.environment(folder.path(), &report);
        let program = self.order.command.first().cloned().unwrap_or_default();
        let running = Running::start(&self.order.command, input, environment)
            .map_err(Failure::file(program.to_string_lossy()))?;
        Ok((folder, listener, running))
    }

    /// Until the command has ended. Whether it was told to.
    fn watch(&mut self, running: &mut Running, listener: &mut Listener) -> Result<bool, Gone> {
        let mut told = None;
        loop {
            let lines = listener.lines().unwrap_or_default();
            self.hear(lines)?;
            if running.has_ended() {
                return Ok(told.is_some());
            }
            self.look(TICK)?;
            let stopped = self.progress.stopped.map(|since| since.elapsed());
            match told {
                None if stopped.is_some_and(|since| since >= self.order.grace) => {
                    running.signal(Signal::TERM);
                    told = Some(Instant::now());
                }
                Some(since) if since.elapsed() >= KILL_AFTER => running.signal(Signal::KILL),
                None | Some(_) => {}
            }
        }
    }

    /// What it said last.
    fn drain(&mut self, listener: &mut Listener) -> Result<(), Gone> {
        loop {
            let lines = listener.lines().unwrap_or_default();
            if lines.is_empty() {
                let last = listener.line().into_iter().collect();
                return self.hear(last);
            }
            self.hear(lines)?;
        }
    }

    fn conclude(
        &mut self,
        ended: &Ended,
        told_to_end: bool,
        took: Duration,
    ) -> Result<Ending, Gone> {
        if self.progress.handed_over {
            return Ok(Ending::HandedOver);
        }
        let failure = ended.failure();
        let outcome = match &failure {
            _ if told_to_end => "released",
            Some(_) => "failed",
            None => "shipped",
        };
        self.record_run(outcome, ended, took)?;
        match failure {
            _ if told_to_end => self.give_back(),
            Some(reason) => {
                self.report(&json!({ "stage": "failed", "reason": reason }))?;
                Ok(Ending::Failed(reason))
            }
            None => {
                self.report(&json!({ "stage": "shipped" }))?;
                Ok(Ending::Shipped)
            }
        }
    }

    fn record_run(&mut self, outcome: &str, ended: &Ended, took: Duration) -> Result<(), Gone> {
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let mut run = json!({
            "outcome": outcome,
            "data": { "exit_code": ended.status.code(), "duration_ms": milliseconds },
        });
        if let (Some(at), Value::Object(members)) = (&self.job.claimed_at, &mut run) {
            members.insert("started_at".to_owned(), json!(at));
        }
        let (office, claim) = (self.office, self.claim.clone());
        let told = self.insist(|key| office.run((&claim.0, claim.1), &run, key))?;
        self.warn(told);
        Ok(())
    }

    /// Its checkpoint stays with it.
    fn give_back(&mut self) -> Result<Ending, Gone> {
        self.report(&json!({ "stage": "queued" }))?;
        Ok(Ending::GivenBack)
    }

    fn hear(&mut self, lines: Vec<Result<String, String>>) -> Result<(), Gone> {
        for line in lines {
            match line.and_then(|line| said::parse(&line)) {
                Ok(said) => said.into_iter().try_for_each(|said| self.pass_on(said))?,
                Err(why) => self.journal.tell("not understood", &self.job.id, &why),
            }
        }
        Ok(())
    }

    fn pass_on(&mut self, said: Said) -> Result<(), Gone> {
        if self.progress.handed_over {
            let detail = "it was handed over; what is said of it now is nobody's";
            self.journal.tell("not understood", &self.job.id, detail);
            return Ok(());
        }
        let (office, claim, job) = (self.office, self.claim.clone(), self.job);
        let told = match said {
            Said::Report(report) => {
                let hands_over = report.get("release") == Some(&json!(true));
                let told = self.stage(report)?;
                if hands_over && told.is_none() {
                    self.progress.handed_over = true;
                    self.floor.hand_over(&claim);
                }
                told
            }
            Said::Artifact(artifact) => {
                let artifact = Value::Object(artifact);
                self.insist(|key| office.artifact((&claim.0, claim.1), &artifact, key))?
            }
            Said::Spend(amount) => {
                self.progress.spendings += 1;
                let spending = said::spending(&amount, &job.id, job.epoch, self.progress.spendings);
                self.insist(|_| office.spend(&job.product, &spending))?
            }
        };
        self.warn(told);
        Ok(())
    }

    fn stage(&mut self, report: Map<String, Value>) -> Result<Option<ClientError>, Gone> {
        let (office, claim) = (self.office, self.claim.clone());
        let report = Value::Object(report);
        let told = self.insist(|key| office.report((&claim.0, claim.1), &report, key))?;
        let stage = report.get("stage").and_then(Value::as_str);
        if let (Some(stage), None) = (stage, &told) {
            self.journal.tell(stage, &self.job.id, "");
        }
        Ok(told)
    }

    /// What the worker itself says of it must be taken.
    fn report(&mut self, report: &Value) -> Result<(), Gone> {
        let (office, claim) = (self.office, self.claim.clone());
        match self.insist(|key| office.report((&claim.0, claim.1), report, key))? {
            None => Ok(()),
            Some(error) => Err(Gone::Untold(error.to_string())),
        }
    }

    fn warn(&self, refused: Option<ClientError>) {
        if let Some(error) = refused {
            self.journal
                .tell("refused", &self.job.id, &error.to_string());
        }
    }

    /// Until the server has taken or refused it, the job is lost, or nobody can hold it any more. The refusal, if it is one.
    fn insist(
        &mut self,
        say: impl Fn(&str) -> Result<(), Unsaid>,
    ) -> Result<Option<ClientError>, Gone> {
        let key = uuid::Uuid::new_v4().to_string();
        let mut pauses = BackOff::new();
        loop {
            match say(&key) {
                Ok(()) => {
                    self.floor.heard();
                    return Ok(None);
                }
                Err(Unsaid::Refused(error)) => return Ok(Some(error)),
                Err(Unsaid::Stale) => return Err(Gone::Lost),
                Err(Unsaid::Passing(error)) => {
                    let stopped = self.progress.stopped;
                    let limit = LAST_WORDS_WITHIN + self.order.grace + KILL_AFTER;
                    if stopped.is_some_and(|since| since.elapsed() >= limit) {
                        return Err(Gone::Untold(error.to_string()));
                    }
                    self.look(pauses.next())?;
                }
            }
        }
    }

    /// Waits a while for what it is told.
    fn look(&mut self, at_most: Duration) -> Result<(), Gone> {
        match self.notices.recv_timeout(at_most) {
            Ok(Notice::Lost) => return Err(Gone::Lost),
            Ok(Notice::Stop) => self.progress.stopped = Some(Instant::now()),
            // The floor keeps the other end until the job is put down.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if self.floor.silence() > LEASE && !self.progress.handed_over {
            return Err(Gone::Untold(
                "the server has been silent for longer than a lease".to_owned(),
            ));
        }
        Ok(())
    }
}

/// A file, so that a command that does not read it keeps nobody waiting.
fn write_input(path: &Path, job: &Value) -> std::io::Result<File> {
    std::fs::write(path, job.to_string())?;
    File::open(path)
}

/// Asks it to end, and waits a moment for that.
fn end_politely(running: &Running) {
    running.signal(Signal::TERM);
    let asked = Instant::now();
    while !running.has_ended() && asked.elapsed() < KILL_AFTER {
        crate::client::rest(TICK);
    }
}
