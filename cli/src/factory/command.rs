//! The command of a job as a process: in a group of its own, so that nothing of it is left when it ends.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::table;

/// Of what it wrote to standard error, what is kept to say why it failed.
const LINES_KEPT: usize = 5;
const LINE_BYTES_MAX: u64 = 4 * 1024;
/// A reason is at most 500 characters on the server.
const REASON_CHARS_MAX: usize = 500;
/// Somebody who left the group may hold standard error open; it is not waited for longer than this.
const LAST_LINES_WITHIN: Duration = Duration::from_secs(1);

/// Must not be given to commands: it is the worker's.
const TOKEN_VARIABLE: &str = "FLEETWRIGHT_TOKEN";

type Lines = Arc<Mutex<VecDeque<String>>>;

pub struct Running {
    child: Child,
    group: Pid,
    last: Lines,
    read: Receiver<()>,
}

/// How it ended.
#[derive(Clone, Debug)]
pub struct Ended {
    pub status: ExitStatus,
    /// The last lines of standard error.
    pub last: Vec<String>,
}

impl Running {
    /// What it prints goes to our standard error; our standard output tells what the worker does.
    pub fn start(
        words: &[OsString],
        input: File,
        environment: Vec<(&'static str, OsString)>,
    ) -> io::Result<Self> {
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let output = io::stderr().as_fd().try_clone_to_owned()?;
        let mut child = Command::new(program)
            .args(arguments)
            .env_remove(TOKEN_VARIABLE)
            .envs(environment)
            .stdin(input)
            .stdout(output)
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let last = Lines::default();
        let (done, read) = channel();
        if let Some(errors) = child.stderr.take() {
            let last = Arc::clone(&last);
            std::thread::spawn(move || {
                pass_on(errors, &last);
                // Nobody may wait for it any more.
                let _ = done.send(());
            });
        }
        let group = Pid::from_child(&child);
        Ok(Self {
            child,
            group,
            last,
            read,
        })
    }

    pub fn group(&self) -> Pid {
        self.group
    }

    /// It stays to be waited for, so that its group's number is nobody else's.
    pub fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error would be that it is no child of ours: nothing to wait for either.
        waitid(WaitId::Pid(self.group), options).map_or(true, |found| found.is_some())
    }

    pub fn signal(&self, signal: Signal) {
        // One that has ended is none the wiser.
        let _ = kill_process_group(self.group, signal);
    }

    /// Whatever is left of it ends.
    pub fn end(mut self) -> io::Result<Ended> {
        self.signal(Signal::KILL);
        let status = self.child.wait()?;
        let _ = self.read.recv_timeout(LAST_LINES_WITHIN);
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Ended {
            status,
            last: last.iter().cloned().collect(),
        })
    }
}

impl Ended {
    /// Why it failed, in one line; `None` if it did not.
    pub fn failure(&self) -> Option<String> {
        if self.status.success() {
            return None;
        }
        let how = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit {code}"),
            (None, Some(signal)) => format!("ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        };
        let last = self.last.join(" | ");
        let room = REASON_CHARS_MAX.saturating_sub(how.len() + 2);
        // The end of it says most.
        let skipped = last.chars().count().saturating_sub(room);
        let said: String = last.chars().skip(skipped).collect();
        Some(if said.is_empty() {
            how
        } else {
            format!("{how}: {said}")
        })
    }
}

/// Copies it to our standard error and keeps its last lines.
fn pass_on(errors: ChildStderr, last: &Lines) {
    let mut errors = BufReader::new(errors);
    loop {
        let mut line = Vec::new();
        let read = errors
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line);
        if !matches!(read, Ok(1..)) {
            return;
        }
        // Where nobody reads it, it is still kept.
        let _ = io::stderr().write_all(&line);
        let text = String::from_utf8_lossy(&line);
        let text = table::printable(text.trim());
        if text.is_empty() {
            continue;
        }
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == LINES_KEPT {
            last.pop_front();
        }
        last.push_back(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(script: &str) -> Ended {
        let words = ["sh", "-c", script].map(OsString::from);
        let input = File::open("/dev/null").expect("it is there");
        let running = Running::start(&words, input, Vec::new()).expect("started");
        while !running.has_ended() {
            std::thread::yield_now();
        }
        running.end().expect("waited for")
    }

    #[test]
    fn a_failure_says_how_it_ended_and_what_was_said_last() {
        for (script, expected) in [
            ("exit 0", None),
            ("echo no >&2; exit 0", None),
            ("exit 3", Some("exit 3")),
            (
                "echo one >&2; echo; printf 'two\\033[2J' >&2; exit 4",
                Some("exit 4: one | two\\u{1b}[2J"),
            ),
            (
                "for i in 1 2 3 4 5 6 7; do echo $i >&2; done; false",
                Some("exit 1: 3 | 4 | 5 | 6 | 7"),
            ),
            ("kill -9 $$", Some("ended by signal 9")),
        ] {
            assert_eq!(ended(script).failure().as_deref(), expected, "{script}");
        }
    }

    #[test]
    fn a_long_reason_keeps_its_end() {
        let reason = ended("head -c 3000 /dev/zero | tr '\\0' x >&2; echo end >&2; exit 1");
        let reason = reason.failure().expect("it failed");
        assert_eq!(reason.chars().count(), REASON_CHARS_MAX);
        assert!(
            reason.starts_with("exit 1: x") && reason.ends_with("xend"),
            "{reason}"
        );
    }

    #[test]
    fn whatever_it_started_ends_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let pid = folder.path().join("pid");
        ended(&format!("sleep 600 & echo $! > {}", pid.display()));
        let pid = std::fs::read_to_string(pid).expect("written");
        let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        // Nobody may have waited for it yet.
        assert!(state.is_err() || state.is_ok_and(|state| state.contains(") Z ")));
    }
}
