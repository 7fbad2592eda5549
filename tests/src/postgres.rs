//! A private PostgreSQL from Debian's package: its own folder, a unix socket and no port, an unprivileged user. A fresh
//! database per test. The kernel ends it with the process that started it, whatever ends that: the stage of a whole run,
//! or a test program that is run without one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::process::cpu_times;
use crate::scratch;
use crate::wait::wait_for;

/// `initdb` and a start take five seconds on a loaded machine.
const START_PATIENCE: Duration = Duration::from_secs(90);
/// Set to run against flushed disks; the tests need only survive the server's death, not the machine's.
const FSYNC_VARIABLE: &str = "FLEETWRIGHT_TEST_POSTGRES_FSYNC";

/// The folder of a cluster that somebody else runs for all tests.
pub const SHARED_VARIABLE: &str = "FLEETWRIGHT_TEST_POSTGRES";

pub struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    user: String,
}

static CLUSTER: OnceLock<Cluster> = OnceLock::new();

/// The run's cluster, or else the process's, started on first use. Panics with the command to type if PostgreSQL is
/// missing.
pub fn cluster() -> &'static Cluster {
    CLUSTER.get_or_init(|| Cluster::shared().unwrap_or_else(Cluster::start))
}

/// A cluster that no other test uses, for all of this process: to be asked for before any database is made.
pub fn cluster_of_its_own() -> &'static Cluster {
    let mut is_own = false;
    let cluster = CLUSTER.get_or_init(|| {
        is_own = true;
        Cluster::start()
    });
    assert!(is_own, "the process has used a cluster already");
    cluster
}

impl Cluster {
    /// Creates an empty database and returns its URL.
    pub fn create_database(&self) -> String {
        // Other processes make theirs in the same cluster.
        let name = format!("fleetwright_{}", uuid::Uuid::new_v4().simple());
        let made = self.psql("postgres", &format!("CREATE DATABASE {name}"));
        made.unwrap_or_else(|error| panic!("cannot create a database: {error}"));
        self.url(&name)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn shared() -> Option<Self> {
        let folder = std::env::var_os(SHARED_VARIABLE)?;
        Some(Self {
            programs: find_programs(),
            folder: folder.into(),
            user: run_as().0,
        })
    }

    fn url(&self, database: &str) -> String {
        let socket = self.folder.to_string_lossy().replace('/', "%2F");
        format!("postgres://{}@{socket}/{database}", self.user)
    }

    /// Stops and starts the server, as an administrator would. Everything in this process loses its connections.
    pub fn restart(&self) {
        let stopped = self
            .as_user("pg_ctl")
            .args(["stop", "--wait", "--mode", "fast", "--pgdata"])
            .arg(self.folder.join("data"))
            .stdout(Stdio::null())
            .status();
        assert!(
            stopped.is_ok_and(|status| status.success()),
            "pg_ctl cannot stop the cluster"
        );
        self.run();
        self.wait_ready();
    }

    /// CPU time of all its processes so far, those that have ended included.
    pub fn cpu_time(&self) -> Duration {
        let file = self.folder.join("data/postmaster.pid");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let Some(postmaster) = text.lines().next().and_then(|line| line.parse().ok()) else {
            return Duration::ZERO;
        };
        let children = format!("/proc/{postmaster}/task/{postmaster}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let own = cpu_times(postmaster);
        children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .map(|pid| cpu_times(pid).own)
            .fold(own.own + own.ended_children, |sum, time| sum + time)
    }

    fn wait_ready(&self) {
        wait_for("PostgreSQL to accept connections", START_PATIENCE, || {
            self.psql("postgres", "SELECT 1").ok()
        });
    }

    fn psql(&self, database: &str, sql: &str) -> Result<(), String> {
        let output = Command::new(self.programs.join("psql"))
            .args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"])
            .arg("--host")
            .arg(&self.folder)
            .args(["--username", &self.user, "--dbname", database])
            .args(["--command", sql])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn start() -> Self {
        let programs = find_programs();
        let folder = scratch::process_folder("postgres");
        let (user, owner) = run_as();
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(&folder, Some(uid), Some(gid))
                .expect("root can give a folder away");
        }
        let cluster = Self {
            programs,
            folder,
            user,
        };
        cluster.initialise();
        cluster.run();
        cluster.wait_ready();
        cluster
    }

    fn initialise(&self) {
        let output = self
            .as_user("initdb")
            .args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .args(["--username", &self.user, "--pgdata"])
            .arg(self.folder.join("data"))
            .output()
            .expect("initdb can be run");
        assert!(
            output.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Runs the server from a thread that lives as long as the process, because the kernel's "parent died" signal
    /// follows the thread that started a child.
    fn run(&self) {
        let fsync = std::env::var_os(FSYNC_VARIABLE).is_some();
        let mut command = self.as_user("postgres");
        command
            .arg("-D")
            .arg(self.folder.join("data"))
            .arg("-k")
            .arg(&self.folder)
            .args(["-c", "listen_addresses=", "-c", "max_connections=400"])
            .args(["-c", if fsync { "fsync=on" } else { "fsync=off" }])
            .stdin(Stdio::null());
        let log = std::fs::File::create(self.folder.join("log")).expect("a log can be written");
        command.stdout(log.try_clone().expect("a file handle can be cloned"));
        command.stderr(log);
        let body = move || {
            // Its end is of interest only to those who use it, and they see it.
            let _ = command.status();
            loop {
                std::thread::park();
            }
        };
        std::thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(body)
            .expect("a thread can be started");
    }

    /// A program as the cluster's user, ended with this process by the kernel.
    fn as_user(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "QUIT"]);
        if rustix::process::geteuid().is_root() {
            command.args([
                "--reuid",
                &self.user,
                "--regid",
                &self.user,
                "--init-groups",
            ]);
        }
        command.arg("--").arg(self.programs.join(program));
        // The folder a test starts in may be closed to that user.
        command.current_dir("/");
        command
    }
}

fn find_programs() -> PathBuf {
    let root = Path::new("/usr/lib/postgresql");
    let mut found: Vec<PathBuf> = std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|folder| folder.join("initdb").is_file())
        .collect();
    found.sort();
    found.pop().expect(
        "PostgreSQL's programs are missing, and these tests are never skipped. Type: apt-get install -y postgresql",
    )
}

/// The user for the cluster and, when it has to be switched to, its ids.
fn run_as() -> (String, Option<(u32, u32)>) {
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let account = |wanted: &dyn Fn(&[&str]) -> bool| {
        accounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            wanted(&fields).then(|| {
                let id = |index: usize| fields.get(index).and_then(|text| text.parse().ok());
                (
                    fields.first().copied().unwrap_or_default().to_owned(),
                    id(2).unwrap_or(65_534),
                    id(3).unwrap_or(65_534),
                )
            })
        })
    };
    let me = rustix::process::geteuid().as_raw();
    if me == 0 {
        let (name, uid, gid) = account(&|fields| fields.first() == Some(&"postgres"))
            .expect("Debian's PostgreSQL package makes the user postgres");
        return (name, Some((uid, gid)));
    }
    let me = me.to_string();
    let (name, ..) = account(&|fields| fields.get(2) == Some(&me.as_str()))
        .expect("the user running the tests has an account");
    (name, None)
}
