//! Child processes of tests: logged to a file, killable at any moment, and ended by the kernel when the test process
//! ends, whatever ends it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::wait_for;

/// The product promises to drain within 20 s of SIGTERM.
pub const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// Of a failed test's logs, the end says why.
const LOG_LINES_SHOWN: usize = 60;

/// A running child. Dropping it kills it; a panicking test also prints the end of its log.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output appended to `log`.
    pub fn spawn(name: &str, command: &Command, log: &Path) -> Self {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let mut wrapped = ended_with_us(command);
        wrapped
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file handle can be cloned"))
            .stderr(output);
        let child = spawn_from_lasting_thread(wrapped)
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `Some` once it has ended by itself or by a signal.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn signal(&self, with: Signal) {
        signal(self.pid(), with);
    }

    /// SIGTERM, and waits for its own end.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let name = format!("{} to stop", self.name);
        wait_for(&name, STOP_PATIENCE, || self.ended())
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        resident_kib(self.pid())
    }

    /// CPU time used so far, user and system.
    pub fn cpu_time(&self) -> Duration {
        cpu_times(self.pid()).own
    }
}

/// CPU time, user and system, from `/proc` (clock ticks are 10 ms on every Linux we run on).
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTimes {
    pub own: Duration,
    /// Of its children that have ended and been waited for.
    pub ended_children: Duration,
}

/// Of all processes of the machine since it started, waiting apart.
pub fn machine_cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    let ticks = first
        .split_whitespace()
        .skip(1)
        .map(|text| text.parse::<u64>());
    // user nice system (idle iowait) irq softirq
    let busy: u64 = [0, 1, 2, 5, 6]
        .into_iter()
        .filter_map(|place| ticks.clone().nth(place)?.ok())
        .sum();
    Duration::from_millis(busy * 10)
}

/// Of a process so far; nothing if it is gone.
pub fn cpu_times(pid: u32) -> CpuTimes {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = text
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
        .collect();
    let ticks = |index: usize| -> u64 {
        fields
            .get(index)
            .and_then(|text| text.parse().ok())
            .unwrap_or_default()
    };
    CpuTimes {
        own: Duration::from_millis((ticks(11) + ticks(12)) * 10),
        ended_children: Duration::from_millis((ticks(13) + ticks(14)) * 10),
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let text = self.log();
            let lines: Vec<&str> = text.lines().collect();
            let from = lines.len().saturating_sub(LOG_LINES_SHOWN);
            eprintln!(
                "--- the end of the log of {}\n{}",
                self.name,
                lines.get(from..).unwrap_or_default().join("\n")
            );
        }
    }
}

/// Those whose command line names the folder: an agent with this data, its supervisors, and their scripts.
pub fn processes_of(folder: &Path) -> Vec<u32> {
    let folder = folder.to_string_lossy().into_owned();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let theirs = processes.filter(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&folder)
    });
    theirs
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .collect()
}

/// To a process that a test has started. One that is gone is none the wiser.
pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let _ = kill_process(pid.expect("a process has a pid"), signal);
}

/// Resident memory in KiB, from `/proc`; 0 if it is gone.
pub fn resident_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

/// A command without our own `FLEETWRIGHT_*` variables: the programs take theirs for settings and refuse unknown ones.
pub fn program(path: PathBuf) -> Command {
    let mut command = Command::new(path);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FLEETWRIGHT_") {
            command.env_remove(name);
        }
    }
    command
}

/// The same program, told to the kernel to be killed when the thread that started it ends.
fn ended_with_us(command: &Command) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--pdeathsig", "KILL", "--"]);
    wrapped.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    wrapped
}

type Order = (Command, Sender<std::io::Result<Child>>);

/// "Parent died" means the starting *thread* to the kernel, and a test's threads end before it does.
fn spawn_from_lasting_thread(command: Command) -> std::io::Result<Child> {
    static ORDERS: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (sender, receiver) = channel::<Order>();
        let body = move || {
            for (mut command, answer) in receiver {
                let _ = answer.send(command.spawn());
            }
        };
        std::thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(body)
            .expect("a thread can be started");
        Mutex::new(sender)
    });
    let (answer, child) = channel();
    orders
        .lock()
        .expect("no one panics with the lock held")
        .send((command, answer))
        .expect("the spawner lives as long as the process");
    child.recv().expect("the spawner answers")
}
