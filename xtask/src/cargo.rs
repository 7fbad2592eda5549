//! Where things are, and running cargo.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The packages that become shared libraries, and the library each one makes.
pub const MODULES: [&str; 5] = ["groups", "bulk", "rolling", "schedules", "placement"];

pub fn root() -> PathBuf {
    // This package lies directly below the root.
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
        .to_owned()
}

pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// A cargo command of these words.
pub fn command(words: &[&str]) -> Command {
    let mut command = cargo();
    command.args(words);
    command
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Dev,
    Release,
}

impl Profile {
    pub fn folder(self) -> PathBuf {
        target().join(match self {
            Self::Dev => "debug",
            Self::Release => "release",
        })
    }
}

/// Builds these packages in one go.
pub fn build(profile: Profile, packages: &[&str]) -> Result<()> {
    let mut command = cargo();
    command.arg("build");
    if !std::io::stderr().is_terminal() {
        // A person wants to see that something happens; a log wants to stay readable.
        command.arg("--quiet");
    }
    if profile == Profile::Release {
        command.arg("--release");
    }
    for package in packages {
        command.args(["--package", package]);
    }
    run(command)
}

pub fn module_package(module: &str) -> String {
    format!("fleetwright-module-{module}")
}

/// The library cargo makes of a module.
pub fn module_library(profile: Profile, module: &str) -> PathBuf {
    profile
        .folder()
        .join(format!("libfleetwright_module_{module}.so"))
}

/// Runs to the end with our own input and output; anything but success is an error that shows the command.
pub fn run(mut command: Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", shown(&command)))?;
    if !status.success() {
        bail!("{} ({status})", shown(&command));
    }
    Ok(())
}

/// Its standard output; standard error is shown.
pub fn output(mut command: Command) -> Result<String> {
    command.stderr(std::process::Stdio::inherit());
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", shown(&command)))?;
    if !output.status.success() {
        bail!("{} ({})", shown(&command), output.status);
    }
    String::from_utf8(output.stdout).context("output is not UTF-8")
}

pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
