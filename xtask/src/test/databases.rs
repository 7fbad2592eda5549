//! A PostgreSQL for the tests: only its programs. The tests make clusters of their own, on free ports, and throw
//! them away; a service on the standard port is never made.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::cargo;
use crate::steps::say;

/// Where Debian keeps each version's programs.
const PROGRAMS: &str = "/usr/lib/postgresql";
const CLUSTER_SETTINGS: &str = "/etc/postgresql-common/createcluster.conf";

pub fn provide_postgres() -> Result<()> {
    if let Some(found) = initdb() {
        say(&format!("{}", found.display()));
        return Ok(());
    }
    if fs::metadata("/proc/self")?.uid() != 0 {
        bail!(
            "PostgreSQL is missing; install it with: sudo apt-get install --no-install-recommends postgresql"
        );
    }
    keep_from_making_a_cluster()?;
    install()?;
    initdb()
        .map(|_| ())
        .context("PostgreSQL was installed, and its initdb is not there")
}

fn initdb() -> Option<PathBuf> {
    let versions = fs::read_dir(PROGRAMS).ok()?;
    let mut found: Vec<PathBuf> = versions
        .flatten()
        .map(|version| version.path().join("bin/initdb"))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found.pop()
}

/// Debian's package makes and starts a cluster on the standard port unless it is told not to.
fn keep_from_making_a_cluster() -> Result<()> {
    let settings = Path::new(CLUSTER_SETTINGS);
    if settings.exists() {
        return Ok(());
    }
    if let Some(folder) = settings.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(settings, "create_main_cluster = false\n").context(CLUSTER_SETTINGS)
}

fn install() -> Result<()> {
    say("installing PostgreSQL");
    let packages = [
        "install",
        "--yes",
        "--quiet",
        "--no-install-recommends",
        "postgresql",
    ];
    if apt_get(&packages).is_ok() {
        return Ok(());
    }
    // A fresh machine may have no package lists yet.
    apt_get(&["update", "--quiet"])?;
    apt_get(&packages)
}

fn apt_get(words: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
    cargo::run(command)
}
