//! Builds the fuzzer and runs it.

use std::process::Command;

use anyhow::Result;

use crate::cargo::{self, Profile};
use crate::steps::Steps;

pub fn run(arguments: &[String]) -> Result<()> {
    let mut steps = Steps::default();
    steps.step("Build", || {
        cargo::build(Profile::Dev, &["fleetwright-tests"])
    })?;
    steps.step("Fuzzing", || {
        let mut command = Command::new(Profile::Dev.folder().join("fleetwright-fuzz"));
        command.args(arguments);
        cargo::run(command)
    })
}
