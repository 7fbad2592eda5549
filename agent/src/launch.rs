//! The agent's side of a supervisor: starting one, hearing from it, finding one again after a restart, and clearing up
//! after one that was lost.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fleetwright_protocol::CommandId;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use crate::procfs::{self, Process};
use crate::supervisor::spawner::Spawner;
use crate::supervisor::spec::{COMMAND_VARIABLE, SupervisorMessage};
use crate::supervisor::{self, signals, tree};

/// Looks in a row that must find nothing: one reads process after process, and misses who starts another and ends
/// meanwhile.
const EMPTY_LOOKS: u32 = 3;

/// Starts supervisors: from the spawner, or as this program once more under another first argument.
pub struct Launcher {
    spawner: Option<Spawner>,
    program: PathBuf,
    /// Started and not yet waited for.
    children: Mutex<Vec<Child>>,
}

impl Launcher {
    /// Runs the program that is running now, also after its file has been replaced by an upgrade.
    pub fn this_program() -> Self {
        Self::of(PathBuf::from("/proc/self/exe"))
    }

    /// Asks the spawner, and does without it if it is gone.
    #[must_use]
    pub fn with_spawner(mut self, spawner: Option<Spawner>) -> Self {
        self.spawner = spawner;
        self
    }

    /// Runs another file as the agent's program.
    pub fn of(program: PathBuf) -> Self {
        Self {
            spawner: None,
            program,
            children: Mutex::new(Vec::new()),
        }
    }

    /// Starts a supervisor for the run in `folder`, which then waits on the channel for its `RunSpec`.
    pub fn launch(&self, folder: &Path, command_id: CommandId) -> io::Result<UnixStream> {
        self.reap();
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        if let Some(spawner) = &self.spawner {
            match spawner.spawn(folder, theirs.as_fd()) {
                Ok(()) => return UnixStream::from_std(ours),
                Err(error) => tracing::debug!(%error, "the spawner does not answer; doing without"),
            }
        }
        let child = Command::new(&self.program)
            .arg0("fleetwright-agent")
            .arg(supervisor::ARGUMENT)
            .arg(folder)
            .env_clear()
            .env(COMMAND_VARIABLE, command_id.to_string())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.children
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(child);
        UnixStream::from_std(ours)
    }

    /// Waits for supervisors that have ended, without waiting for any that has not.
    pub fn reap(&self) {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}

/// The next message of a supervisor; `None` when it has gone.
pub async fn next_report(channel: &mut UnixStream) -> Option<SupervisorMessage> {
    let mut head = [0; 5];
    channel.read_exact(&mut head).await.ok()?;
    let mut content = vec![0; SupervisorMessage::content_bytes(&head)?];
    channel.read_exact(&mut content).await.ok()?;
    SupervisorMessage::decode(head[0], content)
}

/// Asks a supervisor to end its run.
pub fn cancel(supervisor: &Process) {
    tree::signal(supervisor, signals::CANCEL);
}

/// Waits until the process with this pid has ended, whoever its parent is. Only after a restart of the agent, so a
/// thread each does no harm.
pub async fn wait_for_end(pid: u32) -> io::Result<()> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let (ended, has_ended) = oneshot::channel();
    std::thread::Builder::new()
        .name("adopted".to_owned())
        .spawn(move || {
            let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
            while poll(&mut fds, None) == Err(rustix::io::Errno::INTR) {}
            // Nobody listens if the agent is shutting down.
            let _ = ended.send(());
        })?;
    has_ended.await.map_err(io::Error::other)
}

/// Ends every process that still belongs to a run whose supervisor is lost. Returns whether none is left; a process
/// the kernel cannot end (one that waits for a dead disk) is not waited for longer than `patience`.
pub async fn end_leftovers(
    command_id: CommandId,
    session_id: Option<u32>,
    cgroup: Option<PathBuf>,
    patience: Duration,
) -> bool {
    let deadline = tokio::time::Instant::now() + patience;
    let mut empty_looks = 0;
    let mut killed: Vec<Process> = Vec::new();
    loop {
        let cgroup = cgroup.clone();
        let found = tokio::task::spawn_blocking(move || {
            kill_once(command_id, session_id, cgroup.as_deref())
        })
        .await;
        let Ok(found) = found else { return false };
        killed.extend(found);
        // A process that is dying has no environment any more, so no look finds it, and yet it is there for a while.
        killed.retain(|process| procfs::is_running(process.pid, process.start_ticks));
        if killed.is_empty() {
            empty_looks += 1;
            if empty_looks == EMPTY_LOOKS {
                return true;
            }
        } else if tokio::time::Instant::now() < deadline {
            empty_looks = 0;
            tokio::time::sleep(Duration::from_millis(10)).await;
        } else {
            return false;
        }
    }
}

/// Kills all that can be found once. Returns what there was.
fn kill_once(
    command_id: CommandId,
    session_id: Option<u32>,
    cgroup: Option<&Path>,
) -> Vec<Process> {
    if let Some(cgroup) = cgroup {
        // Not there if the run had none; older kernels have no such file.
        let _ = std::fs::write(cgroup.join("cgroup.kill"), "1");
        let _ = std::fs::remove_dir(cgroup);
    }
    let mut found = procfs::with_variable(COMMAND_VARIABLE, &command_id.to_string());
    if let Some(session_id) = session_id {
        found.extend(
            procfs::processes()
                .into_iter()
                .filter(|process| process.session_id == session_id && !process.zombie),
        );
    }
    for process in &found {
        tree::signal(process, Signal::STOP);
    }
    for process in &found {
        tree::signal(process, Signal::KILL);
    }
    found
}
