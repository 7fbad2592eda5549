//! What only the tests need, from Debian's packages: PostgreSQL's programs, other systems' package managers, networks and a clock that
//! can be set. Installed in one go, while the compiler works. The tests make clusters of their own, on free
//! ports, and throw them away; a service on the standard port is never made.
//!
//! A test that is run alone provides what it needs itself.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::cargo::shown;

/// Where Debian keeps each version's programs.
const PROGRAMS: &str = "/usr/lib/postgresql";
const CLUSTER_SETTINGS: &str = "/etc/postgresql-common/createcluster.conf";
/// A program by which a package is known to be there. Without these, tests fail or are left out, and say so.
const WANTED: [(&str, &str); 9] = [
    ("/usr/bin/dpkg-scanpackages", "dpkg-dev"),
    ("/usr/bin/dnf", "dnf"),
    ("/usr/bin/zypper", "zypper"),
    ("/usr/bin/pacman", "pacman-package-manager"),
    ("/usr/bin/rpmbuild", "rpm"),
    ("/usr/bin/createrepo_c", "createrepo-c"),
    ("/usr/bin/unshare", "util-linux"),
    (CLOCK, "libfaketime"),
    ("/sbin/ip", "iproute2"),
];

const CLOCK: &str = if cfg!(target_arch = "aarch64") {
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"
} else {
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
};

/// Says what was installed.
pub fn provide() -> Result<String> {
    let mut missing: Vec<&str> = WANTED
        .iter()
        .filter(|(program, _)| !Path::new(program).exists())
        .map(|(_, package)| *package)
        .collect();
    let has_postgres = initdb().is_some();
    if !has_postgres {
        missing.push("postgresql");
    }
    if missing.is_empty() {
        return Ok("all there".to_owned());
    }
    if fs::metadata("/proc/self")?.uid() != 0 {
        let names = missing.join(" ");
        let how = format!("sudo apt-get install --no-install-recommends {names}");
        if !has_postgres {
            bail!("PostgreSQL is missing; install it with: {how}");
        }
        return Ok(format!("missing; install with: {how}"));
    }
    keep_from_making_a_cluster()?;
    let installed = install(&missing);
    ensure!(
        initdb().is_some(),
        "there is no initdb of PostgreSQL: {}",
        installed
            .err()
            .unwrap_or_else(|| anyhow::anyhow!("although it was installed"))
    );
    // Of all else a test that needs it tells.
    Ok(match installed {
        Ok(()) => format!("installed {}", missing.join(" ")),
        Err(error) => format!("{error:#}"),
    })
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

fn install(packages: &[&str]) -> Result<()> {
    let mut words = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    words.extend(packages);
    if apt_get(&words).is_ok() {
        return Ok(());
    }
    // A fresh machine may have no package lists yet.
    apt_get(&["update", "--quiet"])?;
    apt_get(&words)
}

fn apt_get(words: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive");
    let output = command.output().with_context(|| shown(&command))?;
    ensure!(
        output.status.success(),
        "{}: {}",
        shown(&command),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
