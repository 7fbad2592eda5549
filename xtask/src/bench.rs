//! Builds everything for release and runs the measurements. The load generator measures and reports; this only
//! gives it the programs and a folder for what it writes.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cargo::{self, MODULES, Profile, module_package, target};
use crate::steps::{Steps, say};

pub fn run(names: &[String]) -> Result<()> {
    let mut steps = Steps::default();
    let modules = MODULES.map(module_package);
    let programs = [
        "fleetwright-server",
        "fleetwright-agent",
        "fleetwright",
        "fleetwright-tests",
    ];
    let packages: Vec<&str> = programs
        .into_iter()
        .chain(modules.iter().map(String::as_str))
        .collect();
    steps.step("Release build", || {
        cargo::build(Profile::Release, &packages)
    })?;
    let results = target().join("bench");
    std::fs::create_dir_all(&results).with_context(|| results.display().to_string())?;
    steps.step("Measurements", || {
        let mut command = Command::new(Profile::Release.folder().join("fleetwright-bench"));
        command.args(names).env("FLEETWRIGHT_BENCH_OUT", &results);
        cargo::run(command)
    })?;
    say(&format!("results in {}", results.display()));
    Ok(())
}
