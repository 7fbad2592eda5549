//! Child processes that never outlive their parent: not after an error, not after Ctrl-C, not after `kill -9`.
//!
//! A small shell waits at the other end of a pipe. Whatever ends this process closes the pipe, and the shell
//! then ends every child it was told of: first politely, after ten seconds not so. A child is known by pid
//! and start time, so that a pid used again by somebody else is left alone.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::wait;

const REAPER: &str = r#"
trap '' INT HUP TERM
set -f
known=''
while read -r pid started; do known="$known $pid:$started"; done
is_ours() {
    { read -r stat < "/proc/$1/stat"; } 2>/dev/null || return 1
    set -- "$2" ${stat##*) }
    started=$1
    shift 20
    [ "$1" = "$started" ]
}
signal_all() {
    left=0
    for entry in $known; do
        pid=${entry%%:*}
        if is_ours "$pid" "${entry##*:}"; then left=1; kill "-$1" "$pid" 2>/dev/null; fi
    done
}
signal_all TERM
turns=0
while [ "$turns" -lt 100 ]; do
    signal_all 0
    [ "$left" = 1 ] || exit 0
    turns=$((turns + 1))
    sleep 0.1
done
signal_all KILL
"#;

/// How long `end` waits: the reaper's ten seconds and some slack.
const END_TIMEOUT: Duration = Duration::from_secs(15);
const LOG_TAIL_LINES: usize = 15;

pub struct Children {
    reaper: Child,
    /// Closing it ends the children.
    pipe: Option<ChildStdin>,
    running: Vec<Running>,
}

struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Children {
    pub fn new() -> Result<Self> {
        let mut reaper = Command::new("sh")
            .args(["-c", REAPER])
            .stdin(Stdio::piped())
            // A group of its own: Ctrl-C in the terminal must not reach it.
            .process_group(0)
            .spawn()
            .context("cannot start sh")?;
        let pipe = reaper.stdin.take();
        Ok(Self {
            reaper,
            pipe,
            running: Vec::new(),
        })
    }

    /// Starts `command` with its output in `log`.
    pub fn spawn(&mut self, name: &str, mut command: Command, log: &Path) -> Result<u32> {
        let file = File::create(log).with_context(|| log.display().to_string())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let pid = child.id();
        self.running.push(Running {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        });
        let started = start_time(pid)?;
        let pipe = self.pipe.as_mut().context("already ended")?;
        writeln!(pipe, "{pid} {started}").context("the reaper is gone")?;
        Ok(pid)
    }

    /// An error if one has ended by itself, with the end of its log.
    pub fn check(&mut self) -> Result<()> {
        for running in &mut self.running {
            if let Some(status) = running.child.try_wait()? {
                bail!(
                    "{} ended ({status}):\n{}",
                    running.name,
                    log_tail(&running.log)
                );
            }
        }
        Ok(())
    }

    /// Ends all of them and waits until they are gone.
    pub fn end(&mut self) -> Result<()> {
        drop(self.pipe.take());
        wait::until("ending the processes of the demo", END_TIMEOUT, || {
            // Collecting them is what lets the reaper see that they are gone.
            let mut open = false;
            for running in &mut self.running {
                open |= running.child.try_wait()?.is_none();
            }
            Ok((!open && self.reaper.try_wait()?.is_some()).then_some(()))
        })
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{error:#}");
        }
    }
}

pub fn log_tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LOG_TAIL_LINES);
    lines.get(from..).unwrap_or_default().join("\n")
}

/// Field 22 of `/proc/PID/stat`; the second field may hold blanks and brackets, so count from behind it.
fn start_time(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let after_name = stat.rsplit_once(')').context(path.clone())?.1;
    after_name
        .split_whitespace()
        .nth(19)
        .and_then(|field| field.parse().ok())
        .context(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_running(pid: u32) -> bool {
        // A zombie has ended; only its parent has not looked yet.
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
            !stat
                .rsplit_once(')')
                .is_some_and(|(_, rest)| rest.starts_with(" Z"))
        })
    }

    #[test]
    fn a_closed_pipe_ends_every_child() {
        let log = std::env::temp_dir().join(format!("xtask-children-{}", std::process::id()));
        let mut children = Children::new().expect("reaper");
        let pids: Vec<u32> = (0..2)
            .map(|_| {
                let mut command = Command::new("sleep");
                command.arg("600");
                children.spawn("sleeper", command, &log).expect("starts")
            })
            .collect();
        assert!(pids.iter().all(|pid| is_running(*pid)));
        // As if this process had died: nobody waits, only the pipe closes.
        drop(children.pipe.take());
        wait::until("the children to end", Duration::from_secs(10), || {
            Ok((!pids.iter().any(|pid| is_running(*pid))).then_some(()))
        })
        .expect("ended");
        std::fs::remove_file(&log).expect("cleans up");
    }

    #[test]
    fn a_child_that_ended_by_itself_is_told_with_its_log() {
        let log = std::env::temp_dir().join(format!("xtask-ended-{}", std::process::id()));
        let mut children = Children::new().expect("reaper");
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "read go < /proc/self/fd/0; echo out of cheese; exit 3",
        ]);
        children.spawn("oracle", command, &log).expect("starts");
        let error = wait::until("the end", Duration::from_secs(10), || {
            Ok(children.check().err())
        })
        .expect("fails");
        std::fs::remove_file(&log).expect("cleans up");
        let text = error.to_string();
        assert!(
            text.contains("oracle ended") && text.contains("out of cheese"),
            "{text}"
        );
    }
}
