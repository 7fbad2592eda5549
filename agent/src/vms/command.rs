//! Runs the operator's command that lists the machines: as other tools of the agent are run, for a bounded time and with bounded
//! output.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use fleetwright_protocol::VmReport;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::said::{self, Nonsense};
use crate::clock;
use crate::operations::{surroundings, tools};

/// More than any list of as many machines as are kept.
const OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// Of what it complains of, the beginning; the rest is read and dropped.
const COMPLAINT_BYTES_MAX: usize = 1024;
/// Reads of one pipe between two looks at the clock.
const READS_PER_TURN: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("the command cannot be run: {0}")]
    CannotRun(io::Error),
    #[error("the command was ended: it took longer than {} ms", .0.as_millis())]
    Slow(Duration),
    #[error("the command was ended: it printed more than {OUTPUT_BYTES_MAX} bytes")]
    TooMuch,
    #[error("the command failed ({status}): {complaint}")]
    Failed {
        status: ExitStatus,
        complaint: String,
    },
    #[error("the command makes no sense: {0}")]
    Nonsense(#[from] Nonsense),
}

pub struct ListCommand {
    /// Never empty.
    pub argv: Vec<String>,
    pub within: Duration,
}

impl ListCommand {
    /// Runs it and waits for its end.
    pub fn list(&self) -> Result<Vec<VmReport>, CommandError> {
        let argv = tools::located(&self.argv).map_err(CommandError::CannotRun)?;
        let (program, arguments) = argv
            .split_first()
            .ok_or_else(|| CommandError::CannotRun(io::ErrorKind::InvalidInput.into()))?;
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(surroundings::of_tools())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(CommandError::CannotRun)?;
        let heard = hear(&mut child, self.within);
        if heard.is_err() {
            end(&mut child);
        }
        let (status, output, complaint) = heard?;
        if !status.success() {
            return Err(CommandError::Failed {
                status,
                complaint: String::from_utf8_lossy(&complaint).trim().to_owned(),
            });
        }
        Ok(said::machines(&output)?)
    }
}

/// Reads until the process has ended, whoever else still has its output open.
fn hear(
    child: &mut Child,
    within: Duration,
) -> Result<(ExitStatus, Vec<u8>, Vec<u8>), CommandError> {
    let failed = CommandError::CannotRun;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| failed(error.into()))?;
    let mut output = Pipe::new(child.stdout.take().map(OwnedFd::from), OUTPUT_BYTES_MAX);
    let mut complaint = Pipe::new(child.stderr.take().map(OwnedFd::from), COMPLAINT_BYTES_MAX);
    let deadline_ms = clock::monotonic_ms().saturating_add(millis(within));
    loop {
        // Looked at first: all that an ended process has said is in its pipes.
        let ended = child.try_wait().map_err(failed)?;
        output.read();
        complaint.read();
        if output.is_over {
            return Err(CommandError::TooMuch);
        }
        if let Some(status) = ended {
            return Ok((status, output.kept, complaint.kept));
        }
        let left_ms = deadline_ms.saturating_sub(clock::monotonic_ms());
        if left_ms == 0 {
            return Err(CommandError::Slow(within));
        }
        let mut fds = vec![PollFd::new(&process, PollFlags::IN)];
        let open = [&output, &complaint]
            .into_iter()
            .filter_map(|pipe| pipe.open.as_ref());
        fds.extend(open.map(|file| PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN)));
        // An interrupted poll is as good as a short one.
        let _ = poll(&mut fds, Some(&timespec(left_ms)));
    }
}

/// Ends it and what it has started in its group.
fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    // One that changed its group.
    let _ = child.kill();
    let _ = child.wait();
}

/// One output, as far as it was read.
struct Pipe {
    open: Option<std::fs::File>,
    kept: Vec<u8>,
    kept_max: usize,
    is_over: bool,
}

impl Pipe {
    /// Reading must never wait: a pipe of which that cannot be had is not read.
    fn new(pipe: Option<OwnedFd>, kept_max: usize) -> Self {
        Self {
            open: pipe
                .filter(|pipe| rustix::io::ioctl_fionbio(pipe, true).is_ok())
                .map(std::fs::File::from),
            kept: Vec::new(),
            kept_max,
            is_over: false,
        }
    }

    /// What is there now.
    fn read(&mut self) {
        let mut buffer = [0; 16 * 1024];
        for _ in 0..READS_PER_TURN {
            let Some(file) = &mut self.open else { return };
            match file.read(&mut buffer) {
                Ok(count @ 1..) => {
                    let room = self.kept_max.saturating_sub(self.kept.len());
                    let data = buffer.get(..count.min(room)).unwrap_or_default();
                    self.kept.extend_from_slice(data);
                    self.is_over |= count > room;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => self.open = None,
            }
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn timespec(milliseconds: u64) -> Timespec {
    // At most as long as one command may take.
    Timespec::try_from(Duration::from_millis(milliseconds)).unwrap_or(Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(script: &str, within_ms: u64) -> Result<Vec<VmReport>, CommandError> {
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        let within = Duration::from_millis(within_ms);
        ListCommand { argv, within }.list()
    }

    #[test]
    fn what_a_command_prints_is_heard_whatever_it_leaves_running() {
        let vm = VmReport {
            id: "a".to_owned(),
            memory_resident_mb: Some(5),
        };
        assert_eq!(
            said("echo a 5; echo what >&2", 60_000).unwrap(),
            [vm.clone()]
        );
        // The one that is left has the output open; it ends by itself soon after the test.
        let began_ms = clock::monotonic_ms();
        assert_eq!(said("sleep 20 & echo a 5", 60_000).unwrap(), [vm]);
        assert!(clock::monotonic_ms() - began_ms < 15_000);
        assert_eq!(said("true", 60_000).unwrap(), []);
        let many = said("seq 1 4000 | sed 's/$/ 7/'", 60_000).unwrap();
        assert_eq!(many.len(), 4_000);
        // Nothing of the agent's own, which cargo has set here, is told to it.
        assert_eq!(
            said("env | grep CARGO | sed 's/$/ 1/'", 60_000).unwrap(),
            []
        );
    }

    #[test]
    fn a_command_that_hangs_fails_or_babbles_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let hang = format!("sleep 1000 & echo $! > {}; echo a 5; wait", pid.display());
        let why = said(&hang, 2_000).unwrap_err();
        assert!(matches!(why, CommandError::Slow(_)), "{why}");
        let child: u32 = std::fs::read_to_string(pid)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let is_gone = || crate::procfs::process(child).is_none_or(|process| process.zombie);
        let deadline_ms = clock::monotonic_ms() + 30_000;
        while !is_gone() && clock::monotonic_ms() < deadline_ms {
            std::thread::yield_now();
        }
        assert!(is_gone(), "what it started is ended with it");
        for (script, expected) in [
            ("yes 'a 5'", "printed more than"),
            ("echo a 5; echo it is broken >&2; exit 3", "it is broken"),
            ("echo a 5; kill -9 $$", "signal"),
            ("echo '<html>'", "line 1"),
            ("printf 'a 5\\nb \\377 5\\n'", "UTF-8"),
        ] {
            let why = said(script, 60_000).unwrap_err().to_string();
            assert!(why.contains(expected), "{script}: {why}");
        }
        let nowhere = ListCommand {
            argv: vec!["no-such-tool".to_owned()],
            within: Duration::from_secs(60),
        };
        assert!(matches!(nowhere.list(), Err(CommandError::CannotRun(_))));
    }
}
