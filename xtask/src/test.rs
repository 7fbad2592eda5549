//! Every check and test there is, in one go, with one line of figures at the end. A failing step does not hide
//! the ones after it.

mod community;
mod databases;
mod packages;
mod totals;

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::cargo::{self, cargo, target};
use crate::steps::{Steps, bold, say, time};

use totals::Totals;

/// Tests start servers, agents and databases: more at once than this makes each of them slow, not the whole fast.
const TEST_THREADS_MAX: usize = 4;
/// Where the test harness adds one line per test that used the named thing (`sqlite`, `postgres`, `so`).
const COUNTS_VARIABLE: &str = "FLEETWRIGHT_TEST_COUNTS";

pub fn run() -> Result<()> {
    let started = Instant::now();
    let mut steps = Steps::default();
    let mut failed: Vec<&str> = Vec::new();
    let mut totals = Totals::default();
    let counts = target().join("test/counts.txt");
    totals::start_counting(&counts)?;

    let mut check = |title: &'static str, work: &mut dyn FnMut() -> Result<()>| {
        if let Err(error) = steps.step(title, work) {
            eprintln!("    {error:#}");
            failed.push(title);
        }
    };
    check("Formatting", &mut || {
        cargo::run(words(&["fmt", "--all", "--", "--check"]))
    });
    check("PostgreSQL for the tests", &mut databases::provide_postgres);
    check("Lints", &mut || {
        cargo::run(words(&[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ]))
    });
    check("Advisories and licences of dependencies", &mut dependencies);
    check("Server without modules/ (community edition)", &mut || {
        community::test(&mut totals)
    });
    check("Build binaries and modules", &mut || {
        cargo::run(words(&[
            "build",
            "--quiet",
            "--workspace",
            "--exclude",
            "xtask",
        ]))
    });
    check("Debian packages", &mut packages::check);
    check("Tests", &mut || {
        let mut command = test_command();
        command.env(COUNTS_VARIABLE, &counts);
        totals::run_tests(command, &mut totals)
    });

    println!("\n{} in {}", bold("Everything"), time(started.elapsed()));
    println!("{}", totals::by_kind(&counts)?);
    println!("{}", totals.line());
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("failed: {}", failed.join("; "))
    }
}

/// A cargo command of these words.
fn words(words: &[&str]) -> Command {
    let mut command = cargo();
    command.args(words);
    command
}

fn test_threads() -> String {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    cores.clamp(2, TEST_THREADS_MAX).to_string()
}

/// Plain `cargo test`: a test binary is one process with one private database cluster; a runner that starts a process
/// for each test would start a cluster for each.
fn test_command() -> Command {
    let mut command = words(&["test", "--quiet", "--workspace", "--no-fail-fast"]);
    command.env("RUST_TEST_THREADS", test_threads());
    command
}

fn dependencies() -> Result<()> {
    if !has_subcommand("deny") {
        say("cargo-deny is not installed: left out (cargo install --locked cargo-deny)");
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
