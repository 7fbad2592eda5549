//! Programs a test needs and the machine may lack: they are installed from Debian's packages, where that may be done.

use std::process::Command;

/// What tests that install something lock, one after the other. Not what apt locks.
const PACKAGES: &str = "/var/lib/dpkg";

/// Whether it is there, or is once its package is installed.
pub fn has(is_there: impl Fn() -> bool, package: &str) -> bool {
    // Tests that run side by side want the same packages, and the lists of packages are locked without waiting.
    // Each is a process of its own.
    let turn = std::fs::File::open(PACKAGES).and_then(|folder| folder.lock().map(|()| folder));
    let is_there =
        is_there() || rustix::process::geteuid().is_root() && install(package) && is_there();
    drop(turn);
    is_there
}

fn install(package: &str) -> bool {
    let installed = || {
        apt_get(&[
            "install",
            "--yes",
            "--quiet",
            "--no-install-recommends",
            package,
        ])
    };
    // A machine that has just been made knows no packages yet.
    installed() || apt_get(&["update", "--quiet"]) && installed()
}

fn apt_get(words: &[&str]) -> bool {
    let mut command = Command::new("apt-get");
    // Another program may be installing something.
    command
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive");
    command.status().is_ok_and(|status| status.success())
}
