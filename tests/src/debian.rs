//! Programs a test needs and the machine may lack: they are installed from Debian's packages, where that may be done.

use std::process::Command;

/// Whether it is there, or is once its package is installed.
pub fn has(is_there: impl Fn() -> bool, package: &str) -> bool {
    is_there() || rustix::process::geteuid().is_root() && install(package) && is_there()
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
    // Tests that run side by side want packages at the same time.
    command
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive");
    command.status().is_ok_and(|status| status.success())
}
