//! Ends a whole process tree and returns when none of it is left, daemons included: the supervisor is their subreaper,
//! so whoever loses its parent becomes a child of the supervisor and stays in reach.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, pidfd_open, pidfd_send_signal,
    setpriority_process, wait, waitid,
};

use crate::procfs::{self, Process};

/// Rounds of stopping before the kill: each finds what the last ones missed. A bomb that still forks after as many is
/// met again in the next turn of the outer loop.
const STOP_ROUNDS_MAX: u32 = 64;

/// The kernel needs about this long to end a few processes.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// A process that waits for a dead disk may take for ever; looking for it must not cost a processor.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// A child that ended and was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    pub pid: u32,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
}

/// Waits for every child that has ended by now.
pub fn reap() -> Vec<Ended> {
    let mut ended = Vec::new();
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        ended.push(Ended {
            pid: pid.as_raw_nonzero().get().unsigned_abs(),
            exit_code: status.exit_status(),
            signal: status.terminating_signal(),
        });
    }
    ended
}

/// Whether there is any child, dead or alive, that was not waited for.
fn has_children() -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::All, look), Err(Errno::CHILD))
}

/// Kills all descendants of this process. `pause` is called while the kernel carries the deaths out.
pub fn kill_descendants(cgroup: Option<&Path>, mut pause: impl FnMut(Duration)) {
    // A fork bomb competes for the processor. Only root may do this, and without it the loop merely takes longer.
    let _ = setpriority_process(None, -20);
    let me = std::process::id();
    let mut wait = PAUSE_MIN;
    loop {
        if let Some(cgroup) = cgroup {
            // One call for all of it where the kernel can (5.14); the walk below does it elsewhere.
            let _ = std::fs::write(cgroup.join("cgroup.kill"), "1");
        }
        reap();
        let found = stop_all(me);
        // A look reads one process after the other and misses a family on the move; the kernel does not: whoever lives
        // below a subreaper is its child or has an ancestor who is.
        if found.is_empty() && !has_children() {
            return;
        }
        for process in &found {
            signal(process, Signal::KILL);
        }
        pause(wait);
        wait = (wait * 2).min(PAUSE_MAX);
    }
}

/// Sends one signal to exactly this process, not to one that took over its pid.
pub fn signal(process: &Process, signal: Signal) {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    let Some(pidfd) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
        return; // gone already
    };
    // The handle is to whoever had the pid at that moment: compare before it is used.
    let same =
        procfs::process(process.pid).is_some_and(|now| now.start_ticks == process.start_ticks);
    if same {
        // It may end between the two calls, which is what is wanted.
        let _ = pidfd_send_signal(&pidfd, signal);
    }
}

/// Stops descendants until a look finds no new one: what is stopped cannot fork. Returns all that live.
fn stop_all(root: u32) -> Vec<Process> {
    let mut stopped = BTreeSet::new();
    let mut found = Vec::new();
    for _ in 0..STOP_ROUNDS_MAX {
        found = procfs::descendants(root);
        let fresh: Vec<&Process> = found
            .iter()
            .filter(|process| stopped.insert((process.pid, process.start_ticks)))
            .collect();
        if fresh.is_empty() {
            break;
        }
        for process in fresh {
            signal(process, Signal::STOP);
        }
    }
    found
}
