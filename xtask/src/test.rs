//! Every check and test there is, in one go, with one line of figures at the end. A failing step does not hide
//! the ones after it.

mod beside;
mod build;
mod community;
mod counts;
mod debian;
mod fixtures;
mod jobs;
mod libtest;
mod packages;
mod run;
mod stage;
mod times;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cargo::{self, cargo, root, shown, target};
use crate::steps::{Steps, bold, say, time};

use beside::Beside;
use build::Built;
use jobs::Selection;
use libtest::Totals;
use times::Times;

/// What properties are tried with unless they say otherwise: proptest's own default.
const PROPERTY_CASES: u64 = 256;
/// Loops of chance of a soak, if nothing else is said: long enough to find what an ordinary run of a day's changes misses.
const SOAK_TIMES: u64 = 10;

/// Everything, or with arguments only the tests whose program or name contains one of them.
pub fn run(arguments: &[String]) -> Result<()> {
    if let Some(option) = arguments.iter().find(|argument| argument.starts_with('-')) {
        bail!("unexpected argument: {option}");
    }
    Run::new(arguments.to_vec(), Vec::new())?.carry_out(arguments.is_empty())
}

/// The tests alone, with their loops of chance longer.
pub fn soak(arguments: &[String]) -> Result<()> {
    let (times, filters) = match arguments {
        [option, number, rest @ ..] if option == "--times" => (number.parse()?, rest),
        rest => (SOAK_TIMES, rest),
    };
    let cases = PROPERTY_CASES * times;
    let variables = vec![
        ("FLEETWRIGHT_TEST_TIMES".to_owned(), times.to_string()),
        ("PROPTEST_CASES".to_owned(), cases.to_string()),
    ];
    Run::new(filters.to_vec(), variables)?.carry_out(false)
}

/// One run and what came of its steps.
struct Run {
    filters: Vec<String>,
    /// For the tests.
    variables: Vec<(String, String)>,
    counts: PathBuf,
    steps: Steps,
    built: Built,
    times: Times,
    totals: Totals,
    failed: Vec<&'static str>,
    /// What this machine could not check, said again at the end.
    left_out: Vec<String>,
}

impl Run {
    fn new(filters: Vec<String>, mut variables: Vec<(String, String)>) -> Result<Self> {
        let counts = target().join("test/counts.txt");
        counts::start_counting(&counts)?;
        variables.push((counts::VARIABLE.to_owned(), counts.display().to_string()));
        Ok(Self {
            filters,
            variables,
            counts,
            steps: Steps::default(),
            built: Built::default(),
            times: Times::default(),
            totals: Totals::default(),
            failed: Vec::new(),
            left_out: Vec::new(),
        })
    }

    fn carry_out(mut self, is_whole: bool) -> Result<()> {
        let started = Instant::now();
        let times_file = target().join("test/times.tsv");
        let before = Times::read(&times_file);
        // The network's time beside the compiler's.
        let programs = is_whole.then(|| Beside::start(debian::provide));
        let fixtures = is_whole.then(|| Beside::start(fixtures::build));
        if is_whole {
            self.check("Formatting", |_| {
                cargo::run(cargo::command(&["fmt", "--all", "--", "--check"]))
            });
            self.check(
                "Licences, sources and advisories of dependencies",
                Self::dependencies,
            );
        }
        self.check("Build", |run| {
            run.built = build::everything()?;
            run.built.say();
            Ok(())
        });
        self.check("Server without modules/ (community edition)", |run| {
            let alone = community::build()?;
            alone.say();
            run.built.add(alone);
            Ok(())
        });
        if let Some(fixtures) = fixtures {
            self.finish("Test modules (beside the build)", fixtures);
        }
        if let Some(programs) = programs {
            self.finish("Programs for the tests (beside the build)", programs);
        }
        if is_whole {
            self.check("Debian packages", |_| packages::check());
        }
        // Tests mostly wait: the lints have the processors meanwhile.
        let lints = is_whole.then(|| Beside::start(lints));
        self.check("Tests", |run| run.tests(&before));
        if let Some(lints) = lints {
            self.finish("Lints (beside the tests)", lints);
        }
        let took = started.elapsed();
        if is_whole {
            self.times.write(&times_file, took, self.built.start())?;
        }
        self.close(took, is_whole)
    }

    fn tests(&mut self, before: &Times) -> Result<()> {
        let selection = Selection {
            filters: &self.filters,
            before,
        };
        let jobs = jobs::jobs(&self.built.programs, &selection)?;
        run::run(jobs, &self.variables, &mut self.times, &mut self.totals)
    }

    /// Tables, and the lines that continuous integration reads.
    fn close(self, took: Duration, is_whole: bool) -> Result<()> {
        println!("\n{}", self.times.table());
        let what = if is_whole {
            "Everything"
        } else {
            "These tests"
        };
        let start = self.built.start();
        println!("{} in {} ({start} start)", bold(what), time(took));
        println!("{}", counts::by_kind(&self.counts)?);
        for left_out in &self.left_out {
            println!("LEFT OUT: {left_out}");
        }
        println!("{}", self.totals.line());
        if self.failed.is_empty() {
            Ok(())
        } else {
            bail!("failed: {}", self.failed.join("; "))
        }
    }

    fn check(&mut self, title: &'static str, work: impl FnOnce(&mut Self) -> Result<()>) {
        self.steps.begin(title);
        let started = Instant::now();
        let result = work(self);
        self.end(title, result, started.elapsed());
    }

    /// A step that has been going on beside others.
    fn finish(&mut self, title: &'static str, beside: Beside) {
        self.steps.begin(title);
        let (result, took) = beside.finish();
        self.end(title, result.map(|text| say(&text)), took);
    }

    fn end(&mut self, title: &'static str, result: Result<()>, took: Duration) {
        self.times.steps.push((title.to_owned(), took));
        self.steps.end(result.is_ok(), took);
        if let Err(error) = result {
            eprintln!("    {error:#}");
            self.failed.push(title);
        }
    }

    /// By the rules of `deny.toml`. What cannot be looked at here is said at the end of the run, never passed over.
    fn dependencies(&mut self) -> Result<()> {
        if !has_subcommand("deny") {
            self.leave_out(
                "licences, sources and advisories of dependencies",
                "cargo-deny is not installed (cargo install --locked cargo-deny)",
            );
            return Ok(());
        }
        cargo::run(cargo::command(&[
            "deny",
            "--workspace",
            "check",
            "licenses",
            "bans",
            "sources",
        ]))?;
        // The list of advisories is fetched from the net, which a build machine need not have.
        if let Err(error) = cargo::run(cargo::command(&["deny", "fetch", "db"])) {
            self.leave_out(
                "advisories of dependencies",
                &format!("their list could not be fetched: {error:#}"),
            );
            return Ok(());
        }
        cargo::run(cargo::command(&[
            "deny",
            "--workspace",
            "check",
            "--disable-fetch",
            "advisories",
        ]))
    }

    fn leave_out(&mut self, what: &str, why: &str) {
        say(why);
        self.left_out.push(format!("{what}: {why}"));
    }
}

/// Behind the tests: they have deadlines, it has none.
fn lints() -> Result<String> {
    let cargo = cargo();
    let mut command = Command::new("nice");
    command
        .current_dir(root())
        .args(["-n", "10"])
        .arg(cargo.get_program())
        .args([
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ]);
    let output = command.output().with_context(|| shown(&command))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{text}");
    Ok(text)
}

fn has_subcommand(name: &str) -> bool {
    let output = cargo().args([name, "--version"]).output();
    output.is_ok_and(|output| output.status.success())
}
