//! Operations on a machine that is a table: a dpkg database and an index, and what apt-get is to do wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use fleetwright_protocol::outcome::OutcomeStatus;

use super::*;
use crate::operations::tools::{ToolOutput, said};

#[derive(Default)]
struct Machine {
    installed: BTreeMap<String, String>,
    index: BTreeMap<String, Vec<&'static str>>,
    /// What apt-get does not manage to install or remove, whatever it says.
    stubborn: BTreeSet<&'static str>,
    /// How `apt-get install` and the like end, if not well.
    code: i32,
    stderr: &'static str,
    refresh_code: i32,
    /// dpkg-query works this often.
    queries: Option<usize>,
    calls: Vec<Vec<String>>,
}

impl Machine {
    fn new(installed: &[(&str, &str)], index: &[(&str, &[&'static str])]) -> Self {
        let text = |(name, version): &(&str, &str)| ((*name).to_owned(), (*version).to_owned());
        Self {
            installed: installed.iter().map(text).collect(),
            index: index
                .iter()
                .map(|(name, versions)| ((*name).to_owned(), versions.to_vec()))
                .collect(),
            ..Self::default()
        }
    }

    fn query(&mut self, names: &[String]) -> ToolOutput {
        if self.queries == Some(0) {
            return said(2, "", "dpkg-query: error: database is damaged");
        }
        self.queries = self.queries.map(|left| left - 1);
        let found: Vec<String> = names
            .iter()
            .filter_map(|name| Some((name, self.installed.get(name)?)))
            .map(|(name, version)| format!("{name}\tall\tno\t{name}\tii \t{version}\n"))
            .collect();
        said(i32::from(found.len() < names.len()), &found.concat(), "")
    }

    fn policy(&self, names: &[String]) -> ToolOutput {
        let known: Vec<String> = names
            .iter()
            .filter_map(|name| Some((name, self.index.get(name)?)))
            .map(|(name, versions)| {
                let table: Vec<String> = versions
                    .iter()
                    .map(|version| format!("     {version} 500\n        500 file:/repo\n"))
                    .collect();
                format!(
                    "{name}:\n  Installed: (none)\n  Candidate: {}\n  Version table:\n{}",
                    versions[0],
                    table.concat()
                )
            })
            .collect();
        said(0, &known.concat(), "")
    }

    fn get(&mut self, verb: &str, names: &[String]) -> ToolOutput {
        for text in names {
            let (name, version) = text.split_once('=').unwrap_or((text, ""));
            if self.stubborn.contains(name) {
                continue;
            }
            if verb == "install" {
                let versions = self
                    .index
                    .get(name)
                    .expect("only known names are installed");
                let version = versions.iter().find(|known| **known == version);
                let version = version.unwrap_or(&versions[0]);
                self.installed
                    .insert(name.to_owned(), (*version).to_owned());
            } else {
                self.installed
                    .remove(name)
                    .expect("only installed names are removed");
            }
        }
        said(self.code, "", self.stderr)
    }

    fn tools_called(&self) -> Vec<&str> {
        let tool = |call: &'_ Vec<String>| {
            let mut words = call.iter();
            words
                .position(|word| word != "env" && !word.contains('='))
                .unwrap()
        };
        self.calls
            .iter()
            .map(|call| call[tool(call)].as_str())
            .collect()
    }
}

impl Tools for Machine {
    fn run(&mut self, argv: &[String]) -> io::Result<ToolOutput> {
        self.calls.push(argv.to_vec());
        let after = |word: &str| {
            argv.iter()
                .position(|found| found == word)
                .map(|at| &argv[at + 1..])
        };
        let has = |word: &str| argv.iter().any(|found| found == word);
        let names = after("--").unwrap_or_default();
        Ok(if has("dpkg-query") {
            self.query(names)
        } else if has("apt-cache") {
            self.policy(names)
        } else if has("update") {
            said(self.refresh_code, "", "E: no network")
        } else if let Some(verb) = ["install", "remove", "purge"]
            .into_iter()
            .find(|verb| has(verb))
        {
            self.get(verb, names)
        } else {
            return Err(io::ErrorKind::NotFound.into());
        })
    }
}

fn packages(names: &[&str]) -> Packages {
    Packages {
        packages: names.iter().map(|name| (*name).to_owned()).collect(),
        refresh: false,
        purge: false,
    }
}

fn apt() -> Manager {
    Manager::detect(Some(&["apt".to_owned()])).unwrap()
}

fn run(machine: &mut Machine, change: Change, asked: &Packages, dry_run: bool) -> Outcome {
    carry_out_as(true, change, asked, dry_run, &apt(), machine)
}

/// `name status` of each package.
fn statuses(outcome: &Outcome) -> Vec<String> {
    let details = outcome.details.as_ref().expect("an outcome with details");
    let packages = details["packages"].as_array().unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    packages
        .iter()
        .map(|package| text(&package["name"]) + " " + &text(&package["status"]))
        .collect()
}

#[test]
fn what_is_as_wanted_is_only_looked_at() {
    let mut machine = Machine::new(&[("a", "1.0")], &[]);
    let mut asked = packages(&["a"]);
    asked.refresh = true;
    let outcome = run(&mut machine, Change::Install, &asked, false);
    assert_eq!(outcome.status, OutcomeStatus::Succeeded, "{outcome:?}");
    assert!(!outcome.changed);
    assert_eq!(statuses(&outcome), ["a unchanged"]);
    let outcome = run(&mut machine, Change::Remove, &packages(&["b"]), false);
    assert_eq!(
        (outcome.changed, statuses(&outcome)),
        (false, vec!["b absent".to_owned()])
    );
    assert_eq!(machine.tools_called(), ["dpkg-query", "dpkg-query"]);
}

#[test]
fn what_is_missing_is_installed_in_the_version_asked_for() {
    let mut machine = Machine::new(
        &[("c", "2.0"), ("d", "1.0")],
        &[
            ("a", &["1.1", "1.0"]),
            ("b", &["3.0"]),
            ("c", &["2.0", "1.0"]),
            ("d", &["1.1"]),
        ],
    );
    let asked = packages(&["a=1.0", "b", "c=1.0", "d=1.1"]);
    let outcome = run(&mut machine, Change::Install, &asked, false);
    assert_eq!(outcome.status, OutcomeStatus::Succeeded, "{outcome:?}");
    assert!(outcome.changed);
    assert_eq!(
        statuses(&outcome),
        ["a installed", "b installed", "c downgraded", "d upgraded"]
    );
    assert_eq!(
        outcome.message,
        "installed a 1.0; installed b 3.0; downgraded c 2.0 to 1.0; upgraded d 1.0 to 1.1"
    );
    assert_eq!(
        machine.tools_called(),
        ["dpkg-query", "apt-cache", "apt-get", "dpkg-query"]
    );
}

#[test]
fn an_unknown_package_fails_alone() {
    for dry_run in [true, false] {
        let mut machine = Machine::new(&[], &[("a", &["1.0"])]);
        let asked = packages(&["nope", "a", "a2=9"]);
        let outcome = run(&mut machine, Change::Install, &asked, dry_run);
        assert_eq!(outcome.status, OutcomeStatus::Failed);
        assert_eq!(outcome.reason, Some(FailureReason::ExitCode));
        assert!(outcome.changed);
        assert_eq!(
            statuses(&outcome),
            ["nope failed", "a installed", "a2 failed"]
        );
        assert!(
            outcome.message.contains("nope: there is no such package"),
            "{}",
            outcome.message
        );
        assert_eq!(machine.installed.contains_key("a"), !dry_run);
    }
}

#[test]
fn a_version_that_is_not_offered_is_not_installed_otherwise() {
    let mut machine = Machine::new(&[], &[("a", &["1.1", "1.0"])]);
    let outcome = run(&mut machine, Change::Install, &packages(&["a=2.0"]), false);
    assert_eq!(statuses(&outcome), ["a failed"]);
    assert!(
        outcome.message.contains("only 1.1, 1.0"),
        "{}",
        outcome.message
    );
    assert!(machine.installed.is_empty() && !outcome.changed);
}

#[test]
fn the_database_is_believed_and_not_the_exit_status() {
    let mut lies = Machine::new(&[], &[("a", &["1"]), ("b", &["1"])]);
    lies.stubborn.insert("b");
    let outcome = run(&mut lies, Change::Install, &packages(&["a", "b"]), false);
    assert_eq!(outcome.status, OutcomeStatus::Failed);
    assert_eq!(statuses(&outcome), ["a installed", "b failed"]);
    assert!(outcome.changed && outcome.message.contains("b: it is not installed"));

    let mut grumbles = Machine::new(&[("a", "1")], &[]);
    (grumbles.code, grumbles.stderr) = (8, "Failed to cache rpm database (1).");
    let outcome = run(&mut grumbles, Change::Remove, &packages(&["a"]), false);
    assert_eq!(outcome.status, OutcomeStatus::Succeeded);
    assert_eq!(statuses(&outcome), ["a removed"]);
    assert!(
        outcome.message.contains("Failed to cache"),
        "{}",
        outcome.message
    );

    let mut fails = Machine::new(&[("a", "1"), ("b", "1")], &[]);
    fails.stubborn.insert("b");
    (fails.code, fails.stderr) = (100, "E: b is held by somebody.\n b\nE: that is all");
    let outcome = run(&mut fails, Change::Remove, &packages(&["a", "b"]), false);
    assert_eq!(
        (outcome.status, outcome.exit_code),
        (OutcomeStatus::Failed, Some(100))
    );
    assert!(
        outcome.message.contains("b: E: b is held by somebody."),
        "{}",
        outcome.message
    );
    assert!(outcome.changed);
}

#[test]
fn a_failed_refresh_installs_nothing() {
    let mut machine = Machine::new(&[("b", "1")], &[("a", &["1"])]);
    machine.refresh_code = 100;
    let mut asked = packages(&["a", "b"]);
    asked.refresh = true;
    let outcome = run(&mut machine, Change::Install, &asked, false);
    assert_eq!(outcome.status, OutcomeStatus::Failed);
    assert_eq!(statuses(&outcome), ["a failed", "b unchanged"]);
    assert!(
        outcome
            .message
            .contains("could not be refreshed: E: no network"),
        "{}",
        outcome.message
    );
    assert_eq!(machine.tools_called(), ["dpkg-query", "apt-get"]);
    assert!(!machine.installed.contains_key("a"));
}

#[test]
fn a_dry_run_only_asks() {
    let mut machine = Machine::new(&[("c", "1")], &[("a", &["1"])]);
    let mut asked = packages(&["a", "c"]);
    asked.refresh = true;
    let outcome = run(&mut machine, Change::Install, &asked, true);
    assert_eq!(outcome.status, OutcomeStatus::Succeeded);
    assert_eq!(statuses(&outcome), ["a installed", "c unchanged"]);
    assert!(outcome.changed && outcome.message.contains("would be: installed a 1"));
    let outcome = run(&mut machine, Change::Remove, &packages(&["c"]), true);
    assert_eq!(statuses(&outcome), ["c removed"]);
    assert!(outcome.changed);
    assert_eq!(
        machine.tools_called(),
        ["dpkg-query", "apt-cache", "dpkg-query"]
    );
}

#[test]
fn an_agent_that_is_not_root_changes_nothing_and_says_so() {
    let mut machine = Machine::new(&[("b", "1")], &[("a", &["1"])]);
    let mut as_nobody = |names: &[&str], dry_run| {
        carry_out_as(
            false,
            Change::Install,
            &packages(names),
            dry_run,
            &apt(),
            &mut machine,
        )
    };
    let refused = as_nobody(&["a"], false);
    assert_eq!(refused.reason, Some(FailureReason::AgentError));
    assert!(
        refused.message.contains("runs as root"),
        "{}",
        refused.message
    );
    assert_eq!(as_nobody(&["b"], false).status, OutcomeStatus::Succeeded);
    assert_eq!(as_nobody(&["a"], true).status, OutcomeStatus::Succeeded);
    assert!(!machine.tools_called().contains(&"apt-get"));
}

#[test]
fn a_prefix_is_left_to_say_whether_it_may() {
    let manager = Manager::detect(Some(&[
        "sudo".to_owned(),
        "-n".to_owned(),
        "apt".to_owned(),
    ]))
    .unwrap();
    let mut machine = Machine::new(&[], &[("a", &["1"])]);
    machine.stubborn.insert("a");
    (machine.code, machine.stderr) = (
        100,
        "E: Could not open lock file - open (13: Permission denied)",
    );
    let outcome = carry_out_as(
        false,
        Change::Install,
        &packages(&["a"]),
        false,
        &manager,
        &mut machine,
    );
    assert_eq!(outcome.reason, Some(FailureReason::AgentError));
    assert!(
        outcome.message.starts_with("not permitted"),
        "{}",
        outcome.message
    );
    assert!(
        machine
            .calls
            .iter()
            .all(|call| call.starts_with(&["sudo".to_owned(), "-n".to_owned()]))
    );
    assert!(machine.calls[2].contains(&"apt-get".to_owned()));
}

#[test]
fn brew_is_not_run_as_root() {
    let manager = Manager::detect(Some(&["brew".to_owned()])).unwrap();
    let mut machine = Machine::default();
    let outcome = carry_out_as(
        true,
        Change::Install,
        &packages(&["jq"]),
        false,
        &manager,
        &mut machine,
    );
    assert_eq!(outcome.reason, Some(FailureReason::AgentError));
    assert!(outcome.message.contains("run_as") && machine.calls.is_empty());
}

#[test]
fn what_cannot_be_told_is_an_error_of_the_agent() {
    let manager = Manager::detect(Some(&["pacman".to_owned()])).unwrap();
    let mut machine = Machine::default();
    let outcome = carry_out_as(
        true,
        Change::Install,
        &packages(&["a"]),
        false,
        &manager,
        &mut machine,
    );
    assert_eq!(outcome.reason, Some(FailureReason::AgentError));
    assert!(
        outcome.message.contains("pacman cannot be run"),
        "{}",
        outcome.message
    );

    let mut damaged = Machine::new(&[], &[("a", &["1"])]);
    damaged.queries = Some(0);
    let outcome = run(&mut damaged, Change::Install, &packages(&["a"]), false);
    assert_eq!(
        (outcome.reason, outcome.changed),
        (Some(FailureReason::AgentError), false)
    );
    assert_eq!(damaged.tools_called(), ["dpkg-query"]);

    let mut damaged = Machine::new(&[], &[("a", &["1"])]);
    damaged.queries = Some(1);
    let outcome = run(&mut damaged, Change::Install, &packages(&["a"]), false);
    assert_eq!(
        (outcome.reason, outcome.changed),
        (Some(FailureReason::AgentError), true)
    );
    assert!(
        outcome.message.contains("is not known"),
        "{}",
        outcome.message
    );

    let outcome = run(
        &mut Machine::default(),
        Change::Install,
        &packages(&["--root=/"]),
        false,
    );
    assert_eq!(outcome.reason, Some(FailureReason::AgentError));
}
