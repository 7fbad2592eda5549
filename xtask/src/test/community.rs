//! Proof that the community edition stands alone: the workspace is copied without `modules/` (and without the
//! tests that need them), and the server is built and tested there.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::build::{self, Built};
use crate::cargo::{self, root, target};

/// What a copy needs; everything else at the top level stays behind.
const MEMBERS_LEFT_OUT: [&str; 2] = ["modules/", "tests"];

/// The server's tests as built in the copy, to be run with all others: they are built and run nowhere else.
pub fn build() -> Result<Built> {
    let copy = build::community_copy();
    copy_workspace(&copy)?;
    let mut command = cargo::command(&[
        "test",
        "--no-run",
        "--offline",
        "--package",
        "fleetwright-server",
    ]);
    command.args(build::MESSAGES);
    // The same target folder: what does not depend on the place is built once for both.
    command.current_dir(&copy).env("CARGO_TARGET_DIR", target());
    build::read(command)
}

fn copy_workspace(copy: &Path) -> Result<()> {
    let manifest = fs::read_to_string(root().join("Cargo.toml"))?;
    let members = members(&manifest)?;
    if copy.exists() {
        fs::remove_dir_all(copy)?;
    }
    fs::create_dir_all(copy)?;
    let shared = [
        "Cargo.lock",
        "clippy.toml",
        "rust-toolchain.toml",
        ".cargo",
        "migrations",
        "dist",
    ];
    for name in shared.into_iter().chain(members.iter().map(String::as_str)) {
        // `-a` keeps the times, so that cargo does not build again what has not changed.
        let mut command = Command::new("cp");
        command
            .arg("-a")
            .arg(root().join(name))
            .arg(copy.join(name));
        cargo::run(command)?;
    }
    fs::write(copy.join("Cargo.toml"), without_modules(&manifest)?)?;
    ensure!(!copy.join("modules").exists(), "the copy still has modules");
    Ok(())
}

/// The members that stay, read from the one `members = […]` line.
fn members(manifest: &str) -> Result<Vec<String>> {
    let list = members_line(manifest)?;
    let names = list.split('"').skip(1).step_by(2);
    Ok(names
        .filter(|name| is_kept(name))
        .map(str::to_owned)
        .collect())
}

fn without_modules(manifest: &str) -> Result<String> {
    let line = members_line(manifest)?;
    let kept: Vec<String> = members(manifest)?
        .iter()
        .map(|name| format!("{name:?}"))
        .collect();
    let manifest = manifest.replace(line, &format!("members = [{}]", kept.join(", ")));
    let is_left_out =
        |line: &&str| line.contains("path = \"modules/") || line.contains("path = \"tests");
    Ok(manifest
        .lines()
        .filter(|line| !is_left_out(line))
        .map(|line| format!("{line}\n"))
        .collect())
}

fn members_line(manifest: &str) -> Result<&str> {
    let line = manifest
        .lines()
        .find(|line| line.starts_with("members = ["));
    let line = line.context("Cargo.toml has no line of members")?;
    ensure!(
        line.ends_with(']'),
        "the members in Cargo.toml are expected on one line"
    );
    Ok(line)
}

fn is_kept(member: &str) -> bool {
    !MEMBERS_LEFT_OUT
        .iter()
        .any(|left_out| member.starts_with(left_out))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[workspace]\nmembers = [\"server\", \"modules/bulk\", \"tests\"]\n\
        [workspace.dependencies]\nselector = { path = \"modules/selector\" }\nserde = \"1\"\n";

    #[test]
    fn modules_and_what_needs_them_are_left_out() {
        let manifest = without_modules(MANIFEST).expect("has members");
        assert_eq!(
            manifest,
            "[workspace]\nmembers = [\"server\"]\n[workspace.dependencies]\nserde = \"1\"\n"
        );
    }

    #[test]
    fn a_manifest_of_another_shape_is_refused() {
        assert!(without_modules("members = [\n\"server\"\n]").is_err());
    }
}
