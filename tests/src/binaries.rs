//! Finds the built programs and module libraries beside the running test, and builds them when they are missing or
//! older than the sources: a test must never run yesterday's server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::source;

/// The folder in which somebody else has found everything fresh, for all tests of a run.
pub const FRESH_VARIABLE: &str = "FLEETWRIGHT_TEST_FRESH";
pub const MODULES: [&str; 5] = ["groups", "bulk", "rolling", "schedules", "placement"];
const PROGRAMS: [&str; 3] = ["fleetwright-server", "fleetwright-agent", "fleetwright"];
/// The folders whose files go into the programs and modules.
const SOURCES: [&str; 9] = [
    "protocol",
    "http-kit",
    "plugin-api",
    "server",
    "agent",
    "cli",
    "modules",
    "migrations",
    "Cargo.lock",
];

pub fn server() -> PathBuf {
    folder().join("fleetwright-server")
}

pub fn agent() -> PathBuf {
    folder().join("fleetwright-agent")
}

/// The operators' command line.
pub fn cli() -> PathBuf {
    folder().join("fleetwright")
}

/// A module's shared library.
pub fn module(name: &str) -> PathBuf {
    folder().join(library_name(name))
}

fn library_name(module: &str) -> String {
    format!("libfleetwright_module_{module}.so")
}

/// Names a folder of programs and modules to use as they are: for measuring another build.
const FOLDER_VARIABLE: &str = "FLEETWRIGHT_PROGRAMS";

/// `target/debug` or `target/release`, with everything in it fresh.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        if let Some(folder) = std::env::var_os(FOLDER_VARIABLE) {
            return PathBuf::from(folder);
        }
        let folder = profile_folder();
        let is_known_fresh = std::env::var_os(FRESH_VARIABLE).is_some_and(|known| *known == folder);
        if !is_known_fresh && is_stale(&folder) {
            build(&folder);
        }
        folder
    })
}

/// Tests run from `target/<profile>/deps/`, the benchmark from `target/<profile>/`.
fn profile_folder() -> PathBuf {
    let program = std::env::current_exe().expect("a process knows its program");
    let folder = program.parent().expect("a program lies in a folder");
    let folder = if folder.ends_with("deps") {
        folder.parent().expect("deps lies in the profile's folder")
    } else {
        folder
    };
    folder.to_owned()
}

fn is_stale(folder: &Path) -> bool {
    let built = PROGRAMS
        .iter()
        .map(|name| (*name).to_owned())
        .chain(MODULES.iter().map(|name| library_name(name)))
        .map(|name| source::modified(&folder.join(name)));
    // The oldest of them decides; a missing one is older than anything.
    let Some(Some(oldest)) = built.min() else {
        return true;
    };
    source::has_changed_since(oldest, &SOURCES)
}

fn build(folder: &Path) {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(source::workspace())
        .args(["build", "--quiet"]);
    if folder.ends_with("release") {
        command.arg("--release");
    }
    command
        .arg("--target-dir")
        .arg(folder.parent().expect("a profile's folder lies in target"));
    for program in PROGRAMS {
        command.args(["--package", program]);
    }
    for module in MODULES {
        command.args(["--package", &format!("fleetwright-module-{module}")]);
    }
    let status = command.status().expect("cargo can be run");
    assert!(status.success(), "cargo build: {status}");
}
