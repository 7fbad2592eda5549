//! `fleetwright-sim [--seeds N] [--from N] [--seed N] [--jobs N]`: runs many seeds of the simulated world, or one with its
//! whole story. Exits with 1 if any broke a promise.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use fleetwright_tests::simulation::{Failure, Simulator, Summary};

/// How many failing seeds are looked for before the run ends.
const FAILURES_MAX: usize = 5;
/// Lines of a story shown when many seeds are run.
const LINES_SHOWN: usize = 60;

struct Options {
    seeds: u64,
    from: u64,
    one: Option<u64>,
    jobs: u64,
}

fn main() -> Result<ExitCode> {
    let options = options()?;
    match options.one {
        Some(seed) => Ok(tell(seed)),
        None => Ok(run_many(&options)),
    }
}

fn options() -> Result<Options> {
    let mut options = Options {
        seeds: 10_000,
        from: 1,
        one: None,
        jobs: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("{name} needs a number"))?;
        let value: u64 = value.parse().with_context(|| format!("{name} {value}"))?;
        match name.as_str() {
            "--seeds" => options.seeds = value,
            "--from" => options.from = value,
            "--seed" => options.one = Some(value),
            "--jobs" => options.jobs = value.max(1),
            unknown => bail!("no such option: {unknown}"),
        }
    }
    Ok(options)
}

/// One seed, with all that happened.
fn tell(seed: u64) -> ExitCode {
    let (result, story) = Simulator::new().run_traced(seed);
    for line in story {
        println!("{line}");
    }
    match result {
        Ok(summary) => {
            println!("seed {seed} keeps every promise: {summary:?}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("seed {seed} breaks a promise: {}", failure.what);
            ExitCode::FAILURE
        }
    }
}

fn run_many(options: &Options) -> ExitCode {
    let started = Instant::now();
    let next = AtomicU64::new(options.from);
    let end = options.from.saturating_add(options.seeds);
    let failures: Mutex<Vec<Box<Failure>>> = Mutex::default();
    let total: Mutex<(u64, Summary)> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                let simulator = Simulator::new();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let failed = failures
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .len();
                    if seed >= end || failed >= FAILURES_MAX {
                        return;
                    }
                    match simulator.run(seed) {
                        Ok(summary) => add(&total, &summary),
                        Err(failure) => {
                            println!("seed {seed} breaks a promise: {}", failure.what);
                            let mut all = failures.lock().unwrap_or_else(PoisonError::into_inner);
                            all.push(failure);
                        }
                    }
                }
            });
        }
    });
    let (seeds, sum) = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failures = failures
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    println!(
        "{seeds} seeds in {:.0?}: {} events, {} commands, {} starts, {} attempts, {} faults, {} simulated hours",
        started.elapsed(),
        sum.events,
        sum.commands,
        sum.starts,
        sum.attempts,
        sum.faults,
        sum.simulated_seconds / 3_600
    );
    for (end, count) in &sum.ends {
        println!("  {count:>8} {end}");
    }
    let Some(first) = failures.iter().min_by_key(|failure| failure.trace.len()) else {
        return ExitCode::SUCCESS;
    };
    println!(
        "\nthe shortest story, its last lines (all of it: cargo xtask sim --seed {}):",
        first.seed
    );
    for line in first.trace.iter().rev().take(LINES_SHOWN).rev() {
        println!("{line}");
    }
    println!("{}", first.what);
    ExitCode::FAILURE
}

fn add(total: &Mutex<(u64, Summary)>, one: &Summary) {
    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
    let (seeds, sum) = &mut *total;
    *seeds += 1;
    sum.events += one.events;
    sum.simulated_seconds += one.simulated_seconds;
    sum.commands += one.commands;
    sum.starts += one.starts;
    sum.attempts += one.attempts;
    sum.faults += one.faults;
    let ends: &mut BTreeMap<String, u64> = &mut sum.ends;
    for (end, count) in &one.ends {
        *ends.entry(end.clone()).or_default() += count;
    }
}
