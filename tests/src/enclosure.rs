//! A test in surroundings of its own: it runs again as a child with private networks and mounts, where it may take
//! links down and fill disks. They vanish with the child, however it ends; the machine's own are never touched.
//! Needs root. Where that cannot be had, the test says so and is counted as left out.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::Process;
use crate::{counts, debian};

/// Set in the child.
const INSIDE: &str = "FLEETWRIGHT_TEST_ENCLOSED";
const UNSHARE: [&str; 6] = [
    "--net",
    "--mount",
    "--propagation",
    "private",
    "--fork",
    "--kill-child",
];
/// What enclosing takes, and the Debian packages it comes from.
const TOOLS: [(&str, &str); 4] = [
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
];

/// Runs the body of a test enclosed. To be called by the test itself and nothing else: the body's type names it.
pub fn enclosed<F: FnOnce()>(body: F) {
    if std::env::var_os(INSIDE).is_some() {
        run("ip", &["link", "set", "lo", "up"]);
        body();
        return;
    }
    let name = test_of(std::any::type_name::<F>());
    if let Err(why) = can_enclose() {
        counts::leave_out(name, &why);
        return;
    }
    let program = std::env::current_exe().expect("a process knows its program");
    let output = Command::new("unshare")
        .args(UNSHARE)
        .arg("--")
        .arg(program)
        .args(["--exact", name, "--nocapture", "--test-threads", "1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare can be run");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let ran = output.status.success() && stdout.contains("1 passed");
    // Shown by the test runner if the test fails.
    print!("{stdout}");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(ran, "{name}, enclosed: {}", output.status);
}

/// Why not, in words for a person.
fn can_enclose() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("private networks and mounts need root".to_owned());
    }
    for (program, package) in TOOLS {
        let is_there = || Command::new(program).arg("--help").output().is_ok();
        if !debian::has(is_there, package) {
            return Err(format!(
                "{program} is missing; it is in the Debian package {package}"
            ));
        }
    }
    let tried = Command::new("unshare")
        .args(UNSHARE)
        .args(["--", "ip", "link", "set", "lo", "up"])
        .output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// `crate::module::test::{{closure}}` is known to the test runner as `module::test`.
fn test_of(type_name: &'static str) -> &'static str {
    let path = type_name.strip_suffix("::{{closure}}").unwrap_or(type_name);
    path.split_once("::").map_or(path, |(_, path)| path)
}

/// A network with one host in it, joined to the test's own by one cable. Only inside an enclosure.
pub struct Cable {
    number: u8,
    /// Keeps the network.
    anchor: Process,
}

impl Cable {
    /// The cables of one test have different numbers.
    pub fn lay(number: u8, log: &Path) -> Self {
        assert!(
            std::env::var_os(INSIDE).is_some(),
            "outside it would be the machine's own network"
        );
        let mut command = Command::new("unshare");
        command.args(["--net", "--", "sleep", "infinity"]);
        let anchor = Process::spawn("the anchor of a network", &command, log);
        let own = std::fs::read_link("/proc/self/ns/net").expect("a process has a network");
        let there = format!("/proc/{}/ns/net", anchor.pid());
        crate::wait::wait_until("a network of its own", crate::wait::PATIENCE, || {
            std::fs::read_link(&there).is_ok_and(|found| found != own)
        });
        let cable = Self { number, anchor };
        let (near, far) = (format!("fwnear{number}"), format!("fwfar{number}"));
        let pid = cable.anchor.pid().to_string();
        run(
            "ip",
            &[
                "link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &pid,
            ],
        );
        run(
            "ip",
            &[
                "address",
                "add",
                &format!("{}/30", cable.near_address()),
                "dev",
                &near,
            ],
        );
        run("ip", &["link", "set", &near, "up"]);
        let far_address = format!("10.77.{number}.2/30");
        cable.run_far(&["ip", "address", "add", &far_address, "dev", &far]);
        cable.run_far(&["ip", "link", "set", &far, "up"]);
        cable
    }

    /// The address under which the far host finds the test's own.
    pub fn near_address(&self) -> String {
        format!("10.77.{}.1", self.number)
    }

    /// What a program on the far host is started with.
    pub fn far(&self) -> Vec<String> {
        [
            "nsenter",
            &format!("--net=/proc/{}/ns/net", self.anchor.pid()),
            "--",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// Nothing comes through any more, and nobody is told.
    pub fn pull(&self) {
        run(
            "ip",
            &["link", "set", &format!("fwnear{}", self.number), "down"],
        );
    }

    pub fn plug(&self) {
        run(
            "ip",
            &["link", "set", &format!("fwnear{}", self.number), "up"],
        );
    }

    fn run_far(&self, words: &[&str]) {
        let far = self.far();
        let mut all: Vec<&str> = far.iter().skip(1).map(String::as_str).collect();
        all.extend(words);
        run("nsenter", &all);
    }
}

/// A disk of its own under a folder, with what was in the folder. Only inside an enclosure.
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// `folder` must not be in use.
    pub fn under(folder: &Path, mebibytes: u64) -> Self {
        assert!(
            std::env::var_os(INSIDE).is_some(),
            "outside it would be the machine's own mount"
        );
        let aside = folder.with_extension("aside");
        std::fs::rename(folder, &aside).expect("the folder can be moved");
        std::fs::create_dir(folder).expect("the folder can be made");
        let path = folder.to_str().expect("a path of a test is text");
        let options = format!("size={mebibytes}m,mode=0711");
        run(
            "mount",
            &["-t", "tmpfs", "-o", &options, "fleetwright-test", path],
        );
        run("cp", &["-a", &format!("{}/.", aside.display()), path]);
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Leaves not one byte.
    pub fn fill(&self) {
        let mut ballast = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.ballast())
            .expect("the disk has a name to give");
        for chunk in [1 << 20, 1 << 12, 1] {
            let zeros = vec![0_u8; chunk];
            while ballast.write_all(&zeros).is_ok() {}
        }
    }

    /// Room again.
    pub fn clear(&self) {
        std::fs::remove_file(self.ballast()).expect("the disk was full");
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }
}

/// From now on this file cannot be written, not even by root. Only inside an enclosure.
pub fn make_read_only(file: &Path) {
    assert!(
        std::env::var_os(INSIDE).is_some(),
        "outside it would be the machine's own mount"
    );
    let path = file.to_str().expect("a path of a test is text");
    run("mount", &["--bind", path, path]);
    run("mount", &["-o", "remount,bind,ro", path]);
}

#[track_caller]
fn run(program: &str, words: &[&str]) {
    let output = Command::new(program)
        .args(words)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {}: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_type_of_a_body_names_its_test() {
    assert_eq!(test_of("faults::disks::full::{{closure}}"), "disks::full");
}
