//! Packs the built programs as Debian packages and installs, upgrades and removes them in a private root, where
//! neither a service manager nor this machine's own packages can be touched.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cargo::{self, Profile, target};
use crate::dist::deb::{self, Compression};
use crate::steps::say;

/// What dpkg asks of a root before it installs into it.
const ACCOUNTS: [(&str, &str); 2] = [
    ("passwd", "root:x:0:0:root:/root:/bin/sh\n"),
    ("group", "root:x:0:\n"),
];

pub fn check() -> Result<()> {
    if fs::metadata("/proc/self")?.uid() != 0 || !has("dpkg") {
        say("needs dpkg and root: packages are left out");
        return Ok(());
    }
    let folder = target().join("test/packages");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let packages = deb::pack(&Profile::Dev.folder(), &folder, Compression::None)?;
    let root = folder.join("root");
    prepare(&root)?;
    // The second time is an upgrade.
    for _ in 0..2 {
        dpkg(&root, "--install", &packages)?;
        // A person's own settings outlive an upgrade.
        fs::write(
            root.join("etc/fleetwright/agent.toml"),
            "tags = [\"mine\"]\n",
        )?;
    }
    is_installed(&root)?;
    let names: Vec<PathBuf> = deb::PACKAGES.iter().map(|one| one.name.into()).collect();
    fs::create_dir_all(root.join("var/lib/fleetwright"))?;
    fs::create_dir_all(root.join("var/lib/fleetwright-agent"))?;
    dpkg(&root, "--purge", &names)?;
    is_gone(&root)?;
    fs::remove_dir_all(&folder)?;
    say("installed, upgraded and purged in a private root");
    Ok(())
}

fn prepare(root: &Path) -> Result<()> {
    for part in ["etc", "var/lib/dpkg/info", "var/lib/dpkg/updates"] {
        fs::create_dir_all(root.join(part))?;
    }
    for (name, text) in ACCOUNTS {
        fs::write(root.join("etc").join(name), text)?;
    }
    fs::write(root.join("var/lib/dpkg/status"), "")?;
    Ok(())
}

/// Nothing of this machine changes: scripts run with `DPKG_ROOT` and are made to respect it.
fn dpkg(root: &Path, action: &str, what: &[PathBuf]) -> Result<()> {
    let log = root.join("dpkg.log");
    let output = Command::new("dpkg")
        .arg(format!("--root={}", root.display()))
        .arg(format!("--log={}", log.display()))
        // The root is empty but for ours: what they depend on is this machine's.
        .args([
            "--force-script-chrootless",
            "--force-depends",
            "--force-confold",
            action,
        ])
        .args(what)
        .output()
        .context("cannot run dpkg")?;
    ensure!(
        output.status.success(),
        "dpkg {action}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn is_installed(root: &Path) -> Result<()> {
    for program in ["fleetwright-server", "fleetwright-agent", "fleetwright"] {
        let path = root.join("usr/bin").join(program);
        let mut command = Command::new(&path);
        command.arg("--version").stdout(std::process::Stdio::null());
        cargo::run(command)?;
        has_mode(&path, 0o755)?;
    }
    let accounts = fs::read_to_string(root.join("etc/passwd"))?;
    ensure!(
        accounts.contains("\nfleetwright:"),
        "the server has no account"
    );
    let settings = root.join("etc/fleetwright/server.toml");
    has_mode(&settings, 0o640)?;
    ensure!(
        fs::metadata(&settings)?.gid() != 0,
        "the server cannot read its settings"
    );
    let own = root.join("etc/fleetwright/agent.toml");
    has_mode(&own, 0o600)?;
    ensure!(
        fs::read_to_string(&own)?.contains("mine"),
        "an upgrade has overwritten settings"
    );
    has_mode(&root.join("usr/lib/fleetwright/modules"), 0o755)?;
    for unit in ["fleetwright-server", "fleetwright-agent"] {
        let wanted = root.join(format!(
            "etc/systemd/system/multi-user.target.wants/{unit}.service"
        ));
        ensure!(
            wanted.is_symlink(),
            "{unit} would not start with the machine"
        );
    }
    if has("systemd-analyze") {
        let mut command = Command::new("systemd-analyze");
        command
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .arg(format!("--root={}", root.display()))
            .args(["fleetwright-server.service", "fleetwright-agent.service"]);
        cargo::run(command)?;
    }
    Ok(())
}

/// The programs and the agent's identity go; the fleet itself stays until a person removes it.
fn is_gone(root: &Path) -> Result<()> {
    for path in [
        "usr/bin/fleetwright-server",
        "etc/fleetwright/agent.toml",
        "var/lib/fleetwright-agent",
    ] {
        ensure!(!root.join(path).exists(), "{path} is still there");
    }
    ensure!(
        root.join("var/lib/fleetwright").exists(),
        "the server's state was removed with its package"
    );
    Ok(())
}

fn has_mode(path: &Path, mode: u32) -> Result<()> {
    let found = fs::metadata(path)
        .with_context(|| path.display().to_string())?
        .permissions()
        .mode()
        & 0o7777;
    ensure!(
        found == mode,
        "{} has mode {found:o}, not {mode:o}",
        path.display()
    );
    Ok(())
}

fn has(program: &str) -> bool {
    let output = Command::new(program).arg("--version").output();
    output.is_ok_and(|output| output.status.success())
}
