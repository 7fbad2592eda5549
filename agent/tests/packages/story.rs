//! What every manager must do with the same repository: `fw-one` 1.0-1 (where it keeps old versions) and 1.1-1, and
//! `fw-two` 2.0-1.

use fleetwright_agent::operations::packages::Change::{self, Install, Remove};
use fleetwright_protocol::Outcome;
use fleetwright_protocol::operation::Packages;
use fleetwright_protocol::outcome::{FailureReason, OutcomeStatus};

use crate::root::PrivateRoot;

/// One operation, and what must come of it: for each package its status and what is installed afterwards.
pub struct Step {
    pub change: Change,
    pub asked: &'static [&'static str],
    pub how: How,
    pub succeeds: bool,
    pub changed: bool,
    pub packages: &'static [(&'static str, Option<&'static str>)],
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum How {
    Plain,
    Refreshed,
    Purged,
    Dry,
}

use How::{Dry, Plain, Purged, Refreshed};

#[rustfmt::skip]
pub const COMMON: [Step; 16] = [
    step(Install, &["fw-two"], Refreshed, true, true, &[("installed", Some("2.0-1"))]),
    step(Install, &["fw-two"], Refreshed, true, false, &[("unchanged", Some("2.0-1"))]),
    // In a dry run, what would be installed afterwards; the next step finds that it is not.
    step(Install, &["fw-one"], Dry, true, true, &[("installed", Some("1.1-1"))]),
    step(Remove, &["fw-one"], Plain, true, false, &[("absent", None)]),
    step(Install, &["fw-nope"], Dry, false, false, &[("failed", None)]),
    step(Install, &["fw-nope"], Plain, false, false, &[("failed", None)]),
    step(Install, &["fw-nope", "fw-one=1.1-1"], Plain, false, true, &[("failed", None), ("installed", Some("1.1-1"))]),
    step(Install, &["fw-one=1.1-1", "fw-two"], Plain, true, false, &[("unchanged", Some("1.1-1")), ("unchanged", Some("2.0-1"))]),
    step(Install, &["fw-one=9.9-9"], Plain, false, false, &[("failed", Some("1.1-1"))]),
    // What some tools take for a package and a version is no package's name.
    step(Install, &["fw-one-1.1"], Plain, false, false, &[("failed", None)]),
    step(Remove, &["fw-one-1.1"], Plain, true, false, &[("absent", None)]),
    step(Remove, &["fw-one"], Dry, true, true, &[("removed", None)]),
    step(Remove, &["fw-one=9.9-9"], Plain, true, false, &[("unchanged", Some("1.1-1"))]),
    step(Remove, &["fw-one", "fw-nope"], Plain, true, true, &[("removed", None), ("absent", None)]),
    step(Remove, &["fw-one"], Plain, true, false, &[("absent", None)]),
    step(Remove, &["fw-two"], Purged, true, true, &[("removed", None)]),
];

/// For managers whose repositories keep old versions.
#[rustfmt::skip]
pub const VERSIONS: [Step; 6] = [
    step(Install, &["fw-one=1.0-1"], Dry, true, true, &[("installed", Some("1.0-1"))]),
    step(Install, &["fw-one=1.0-1"], Refreshed, true, true, &[("installed", Some("1.0-1"))]),
    step(Install, &["fw-one"], Plain, true, false, &[("unchanged", Some("1.0-1"))]),
    step(Install, &["fw-one=1.1-1"], Plain, true, true, &[("upgraded", Some("1.1-1"))]),
    step(Install, &["fw-one=1.0-1"], Plain, true, true, &[("downgraded", Some("1.0-1"))]),
    step(Remove, &["fw-one"], Purged, true, true, &[("removed", None)]),
];

pub const fn step(
    change: Change,
    asked: &'static [&'static str],
    how: How,
    succeeds: bool,
    changed: bool,
    packages: &'static [(&'static str, Option<&'static str>)],
) -> Step {
    Step {
        change,
        asked,
        how,
        succeeds,
        changed,
        packages,
    }
}

pub fn play(root: &PrivateRoot, steps: &[Step]) {
    for (number, step) in steps.iter().enumerate() {
        let outcome = take(root, step);
        println!("{:?} {:?}: {}", step.change, step.asked, outcome.message);
        check(number + 1, step, &outcome);
    }
    root.machine_is_unchanged();
}

fn take(root: &PrivateRoot, step: &Step) -> Outcome {
    let packages = Packages {
        packages: step.asked.iter().map(|name| (*name).to_owned()).collect(),
        refresh: step.how == Refreshed,
        purge: step.how == Purged,
    };
    root.carry_out(step.change, &packages, step.how == Dry)
}

fn check(number: usize, step: &Step, outcome: &Outcome) {
    let at = format!(
        "step {number}, {:?} {:?}: {outcome:#?}",
        step.change, step.asked
    );
    let details = outcome.details.as_ref().unwrap_or_else(|| panic!("{at}"));
    let found: Vec<(&str, Option<&str>)> = details["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            (
                package["status"].as_str().unwrap(),
                package["after"].as_str(),
            )
        })
        .collect();
    assert_eq!(found, step.packages, "{at}");
    assert_eq!(
        outcome.status == OutcomeStatus::Succeeded,
        step.succeeds,
        "{at}"
    );
    let reason = (!step.succeeds).then_some(FailureReason::ExitCode);
    assert_eq!(outcome.reason, reason, "{at}");
    assert_eq!(outcome.changed, step.changed, "{at}");
}
