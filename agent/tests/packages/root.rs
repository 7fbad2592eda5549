//! A private root: a folder, and the program in front of a manager's tools that keeps them inside.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use fleetwright_agent::operations::packages::{Change, Manager, carry_out};
use fleetwright_agent::operations::tools::SystemTools;
use fleetwright_protocol::Outcome;
use fleetwright_protocol::operation::Packages;
use tempfile::TempDir;

/// What the tests run, and the Debian package it comes from.
const TOOLS: [(&str, &str); 8] = [
    ("/usr/bin/apt-get", "apt"),
    ("/usr/bin/dpkg-scanpackages", "dpkg-dev"),
    ("/usr/bin/dnf", "dnf"),
    ("/usr/bin/zypper", "zypper"),
    ("/usr/bin/pacman", "pacman-package-manager"),
    ("/usr/bin/rpmbuild", "rpm"),
    ("/usr/bin/createrepo_c", "createrepo-c"),
    ("/usr/bin/unshare", "util-linux"),
];

/// What tests that install something lock, one after the other. Not what apt locks.
const PACKAGES: &str = "/var/lib/dpkg";

/// What managers keep on a machine, beside the packages themselves.
const KEPT: [&str; 12] = [
    "/var/cache/dnf",
    "/var/cache/pacman",
    "/var/cache/zypp",
    "/var/lib/dnf",
    "/var/lib/pacman",
    "/var/lib/rpm",
    "/var/lib/zypp",
    "/var/log/dnf.log",
    "/var/log/hawkey.log",
    "/var/log/pacman.log",
    "/var/log/zypper.log",
    "/root/.rpmdb",
];

pub struct PrivateRoot {
    folder: TempDir,
    /// Of the machine, before the test.
    kept: Vec<Kept>,
    /// Lines about this repository's packages in the machine's log of dpkg, before the test.
    logged: usize,
    manager: Option<Manager>,
}

impl PrivateRoot {
    pub fn new() -> Self {
        static PROVIDED: OnceLock<()> = OnceLock::new();
        PROVIDED.get_or_init(provide);
        Self {
            folder: tempfile::tempdir().unwrap(),
            kept: kept(),
            logged: logged(),
            manager: None,
        }
    }

    pub fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    pub fn write(&self, inside: &str, text: &str) -> PathBuf {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub fn folders(&self, inside: &[&str]) {
        for folder in inside {
            fs::create_dir_all(self.path(folder)).unwrap();
        }
    }

    /// Puts a program named after the manager in front of its tools. `script` is run with the tool's name in `$tool`
    /// and its words in `$@`; `@/` in it is the private folder.
    pub fn enclose(&mut self, manager: &str, script: &str) {
        let text = format!(
            r#"#!/bin/sh
[ "$(id -u)" = 0 ] || exec unshare --map-root-user "$0" "$@"
[ "$1" = env ] && shift
while case "$1" in *=*) true ;; *) false ;; esac; do export "$1"; shift; done
tool=$1; shift
{}
echo "$tool is not expected here" >&2
exit 99
"#,
            script.replace("@/", &format!("{}/", self.folder.path().display()))
        );
        // Copied by another process: what a thread that forks holds open for writing cannot be run.
        let new = self.write(&format!("in-root/{manager}.new"), &text);
        let path = self.path(&format!("in-root/{manager}"));
        let copied = Command::new("cp").arg(new).arg(&path).status().unwrap();
        assert!(copied.success());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let words = [path.to_str().unwrap().to_owned()];
        let manager = Manager::detect(Some(&words)).unwrap();
        self.manager = Some(manager);
    }

    pub fn carry_out(&self, change: Change, packages: &Packages, dry_run: bool) -> Outcome {
        let manager = self.manager.as_ref().expect("a root that is enclosed");
        carry_out(change, packages, dry_run, manager, &mut SystemTools)
    }
}

/// Neither the packages of the tests nor their managers' own files have come to the machine.
impl PrivateRoot {
    pub fn machine_is_unchanged(&self) {
        assert_eq!(kept(), self.kept);
        assert_eq!(logged(), self.logged);
        let query = Command::new("dpkg-query").args(["--show", "fw-*"]).output();
        assert_eq!(query.unwrap().stdout, b"");
    }
}

fn logged() -> usize {
    let log = fs::read_to_string("/var/log/dpkg.log").unwrap_or_default();
    log.matches(" fw-").count()
}

/// A file or folder, when it last changed, and how long it is.
type Kept = (PathBuf, Option<SystemTime>, u64);

fn kept() -> Vec<Kept> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = KEPT.iter().map(PathBuf::from).collect();
    while let Some(path) = open.pop() {
        if let Ok(about) = fs::symlink_metadata(&path) {
            found.push((path.clone(), about.modified().ok(), about.len()));
        }
        let inside = fs::read_dir(&path).into_iter().flatten().flatten();
        open.extend(inside.map(|entry| entry.path()));
    }
    found.sort();
    found
}

/// Runs a tool that must succeed.
pub fn tool(folder: &Path, words: &[&str]) -> String {
    let output = Command::new(words[0])
        .args(&words[1..])
        .current_dir(folder)
        .env("HOME", folder)
        .output()
        .unwrap_or_else(|error| panic!("{words:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Installs the managers that are missing.
fn provide() {
    // Each test is a process of its own and wants the same ones, and apt's lists are locked without waiting.
    let turn = fs::File::open(PACKAGES).and_then(|folder| folder.lock().map(|()| folder));
    let missing: Vec<&str> = TOOLS
        .iter()
        .filter(|(program, _)| !Path::new(program).exists())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return;
    }
    let mut words = vec![
        "apt-get",
        "install",
        "--yes",
        "--quiet",
        "--no-install-recommends",
    ];
    words.extend(&missing);
    let apt_get = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .env("DEBIAN_FRONTEND", "noninteractive");
        command.status().is_ok_and(|status| status.success())
    };
    // A fresh machine may have no package lists yet.
    let provided =
        apt_get(&words) || (apt_get(&["apt-get", "update", "--quiet"]) && apt_get(&words));
    assert!(
        provided,
        "package managers to test are missing; as root: {}",
        words.join(" ")
    );
    drop(turn);
}
