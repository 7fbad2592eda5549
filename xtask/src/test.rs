//! Every check and test there is, in one go, with one line of figures at the end. A failing step does not hide
//! the ones after it.

mod build;
mod community;
mod counts;
mod databases;
mod jobs;
mod libtest;
mod packages;
mod run;
mod stage;
mod times;

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::cargo::{self, cargo, target};
use crate::steps::{Steps, bold, say, time};

use build::Built;
use jobs::Selection;
use libtest::Totals;

use times::Times;

/// With `filters`, only builds and runs the tests whose program or name contains one of them.
pub fn run(filters: &[String]) -> Result<()> {
    if let Some(option) = filters.iter().find(|filter| filter.starts_with('-')) {
        bail!("unexpected argument: {option}");
    }
    let is_whole = filters.is_empty();
    let started = Instant::now();
    let mut checks = Checks::default();
    let counts = target().join("test/counts.txt");
    counts::start_counting(&counts)?;
    let times_file = target().join("test/times.tsv");
    let before = Times::read(&times_file);
    let mut built = Built::default();
    let mut totals = Totals::default();

    if is_whole {
        checks.check("Formatting", |_| {
            cargo::run(words(&["fmt", "--all", "--", "--check"]))
        });
        checks.check("PostgreSQL for the tests", |_| {
            databases::provide_postgres()
        });
        checks.check("Lints", |_| lints());
        checks.check("Advisories and licences of dependencies", dependencies);
    }
    checks.check("Build", |_| {
        built = build::everything()?;
        built.say();
        Ok(())
    });
    checks.check("Server without modules/ (community edition)", |_| {
        let alone = community::build()?;
        alone.say();
        built.add(alone);
        Ok(())
    });
    if is_whole {
        checks.check("Debian packages", |_| packages::check());
    }
    checks.check("Tests", |checks| {
        let selection = Selection {
            filters,
            before: &before,
        };
        let jobs = jobs::jobs(&built.programs, &selection)?;
        run::run(jobs, &counts, &mut checks.times, &mut totals)
    });

    let took = started.elapsed();
    println!("\n{}", checks.times.table());
    if is_whole {
        checks.times.write(&times_file, took, built.start())?;
    }
    println!(
        "{} in {} ({} start)",
        bold(if is_whole { "Everything" } else { "These" }),
        time(took),
        built.start()
    );
    println!("{}", counts::by_kind(&counts)?);
    for left_out in &checks.left_out {
        println!("LEFT OUT: {left_out}");
    }
    println!("{}", totals.line());
    if checks.failed.is_empty() {
        Ok(())
    } else {
        bail!("failed: {}", checks.failed.join("; "))
    }
}

/// Runs one step after the other and remembers what came of them.
#[derive(Default)]
struct Checks {
    steps: Steps,
    times: Times,
    failed: Vec<&'static str>,
    /// What this machine could not check, said again at the end.
    left_out: Vec<String>,
}

impl Checks {
    fn check(&mut self, title: &'static str, work: impl FnOnce(&mut Self) -> Result<()>) {
        self.steps.begin(title);
        let started = Instant::now();
        let result = work(self);
        let took = started.elapsed();
        self.times.steps.push((title.to_owned(), took));
        self.steps.end(result.is_ok(), took);
        if let Err(error) = result {
            eprintln!("    {error:#}");
            self.failed.push(title);
        }
    }
}

fn lints() -> Result<()> {
    cargo::run(words(&[
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))
}

/// A cargo command of these words.
fn words(words: &[&str]) -> Command {
    let mut command = cargo();
    command.args(words);
    command
}

fn dependencies(checks: &mut Checks) -> Result<()> {
    if !has_subcommand("deny") {
        let why = "cargo-deny is not installed (cargo install --locked cargo-deny)";
        say(why);
        checks
            .left_out
            .push(format!("advisories and licences of dependencies: {why}"));
        return Ok(());
    }
    cargo::run(words(&[
        "deny",
        "--workspace",
        "check",
        "advisories",
        "licenses",
        "bans",
    ]))
}

fn has_subcommand(name: &str) -> bool {
    let output = cargo().args([name, "--version"]).output();
    output.is_ok_and(|output| output.status.success())
}
