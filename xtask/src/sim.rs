//! Builds the simulation of delivery and runs it. With debug checks: an overflow is a finding too.

use std::process::Command;

use anyhow::Result;

use crate::cargo::{self, Profile};
use crate::steps::Steps;

pub fn run(arguments: &[String]) -> Result<()> {
    let mut steps = Steps::default();
    steps.step("Build", || {
        cargo::build(Profile::Dev, &["fleetwright-tests"])
    })?;
    steps.step("Simulation", || {
        let mut command = Command::new(Profile::Dev.folder().join("fleetwright-sim"));
        command.args(arguments);
        cargo::run(command)
    })
}
