//! Runs test programs side by side. Tests that start servers and agents mostly wait, so each of them is a process of its own
//! and several run at once; unit tests compute, so those of a program stay in one process, one after the other.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, PipeReader};
use std::process::Stdio;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::build::Program;
use super::jobs::Job;
use super::libtest::{self, Totals};
use super::stage::Stage;
use super::times::Times;
use crate::cargo::shown;
use crate::steps::{say, time};

/// Processes at once for each core: most of a test with servers and agents is waiting for them.
const AT_ONCE_PER_CORE: usize = 4;
/// What came of it.
struct Outcome<'a> {
    program: &'a Program,
    totals: Totals,
    times: Vec<(String, Duration)>,
    succeeded: bool,
    text: String,
}

/// Runs the jobs in their order, with these variables, and shows what failing tests print.
pub fn run(
    jobs: Vec<Job>,
    variables: &[(String, String)],
    times: &mut Times,
    totals: &mut Totals,
) -> Result<()> {
    let stage = Stage::set_up()?;
    let variables = [variables, &stage.variables].concat();
    let mut progress = Progress::of(&jobs);
    let queue = Mutex::new(VecDeque::from(jobs));
    let (sender, outcomes) = channel();
    std::thread::scope(|scope| {
        for _ in 0..at_once() {
            let (queue, variables, sender) = (&queue, &variables, sender.clone());
            scope.spawn(move || work(queue, variables, &sender));
        }
        drop(sender);
        for outcome in outcomes {
            let outcome = outcome?;
            totals.add(outcome.totals);
            progress.show(&outcome);
            for (test, took) in outcome.times {
                let key = (outcome.program.name.clone(), test);
                times.tests.insert(key, took);
            }
        }
        anyhow::Ok(())
    })?;
    let failed = progress.failed;
    ensure!(failed.is_empty(), "failed in {}", failed.join(", "));
    Ok(())
}

fn at_once() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from) * AT_ONCE_PER_CORE
}

fn work<'a>(
    queue: &Mutex<VecDeque<Job<'a>>>,
    variables: &[(String, String)],
    outcomes: &Sender<Result<Outcome<'a>>>,
) {
    loop {
        let next = queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        let Some(job) = next else {
            return;
        };
        // Whoever listens stops listening at the first error that is no test's.
        if outcomes.send(carry_out(&job, variables)).is_err() {
            return;
        }
    }
}

fn carry_out<'a>(job: &Job<'a>, variables: &[(String, String)]) -> Result<Outcome<'a>> {
    let mut command = job.program.command();
    // One after the other within a process: what lies between two lines is one test's time.
    command.args(["--test-threads", "1"]);
    if let Some(test) = &job.test {
        command.args(["--exact", test]);
    }
    let (reader, writer) = std::io::pipe()?;
    command
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = command.spawn().with_context(|| shown(&command))?;
    // It holds the pipe's other end, which has to be the child's alone.
    drop(command);
    let mut outcome = follow(job, reader)?;
    let status = child.wait()?;
    // A name that is not there any more would be a run of nothing that succeeds.
    let has_run = job.test.is_none() || outcome.totals.ran() + outcome.totals.ignored == 1;
    outcome.succeeded = status.success() && has_run;
    if !outcome.succeeded && outcome.totals.failed == 0 {
        // It ended before it could say so.
        outcome.totals.failed = 1;
        outcome
            .text
            .push_str(&format!("{}: {status}\n", job.program.name));
    }
    Ok(outcome)
}

fn follow<'a>(job: &Job<'a>, reader: PipeReader) -> Result<Outcome<'a>> {
    let mut outcome = Outcome {
        program: job.program,
        totals: Totals::default(),
        times: Vec::new(),
        succeeded: false,
        text: String::new(),
    };
    let mut since = Instant::now();
    for line in BufReader::new(reader).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if let Some(test) = libtest::ended(&line) {
            outcome.times.push((test.to_owned(), since.elapsed()));
            since = Instant::now();
        }
        if let Some(result) = libtest::result(&line) {
            outcome.totals.add(result);
        }
        outcome.text.push_str(&line);
        outcome.text.push('\n');
    }
    Ok(outcome)
}

/// A line for each program once its last test has ended, and at once what failing ones print.
struct Progress {
    left: BTreeMap<String, usize>,
    sums: BTreeMap<String, (Totals, Duration)>,
    failed: Vec<String>,
}

impl Progress {
    fn of(jobs: &[Job]) -> Self {
        let mut left = BTreeMap::new();
        for job in jobs {
            *left.entry(job.program.name.clone()).or_default() += 1;
        }
        Self {
            left,
            sums: BTreeMap::new(),
            failed: Vec::new(),
        }
    }

    fn show(&mut self, outcome: &Outcome) {
        let name = &outcome.program.name;
        if !outcome.succeeded {
            println!("{}", outcome.text);
            if !self.failed.contains(name) {
                self.failed.push(name.clone());
            }
        }
        let (totals, took) = self.sums.entry(name.clone()).or_default();
        totals.add(outcome.totals);
        *took += outcome.times.iter().map(|(_, took)| *took).sum();
        let left = self.left.entry(name.clone()).or_default();
        *left = left.saturating_sub(1);
        if *left == 0 {
            say(&format!(
                "{name}: {} ({} in all)",
                totals.line(),
                time(*took)
            ));
        }
    }
}
