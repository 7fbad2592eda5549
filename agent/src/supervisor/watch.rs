//! Watches one run from start to end: output, time, signals.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use fleetwright_protocol::frame::Stream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::exit_record::{Ending, ExitRecord};
use super::live::Live;
use super::signals::{Signal, Signals};
use super::spec::RunSpec;
use super::spool::Spool;
use super::{child, tree};
use crate::clock;
use crate::masks::{Masked, Masks};
use crate::operations::result::OwnResult;

/// After the program has ended, whoever it left behind may keep its output open for ever; what such a one prints within
/// this time still counts. A pipeline's last words come sooner.
const LINGER_MS: u64 = 250;
/// Enough for what most commands say: pages that are not touched cost nothing.
const READ_BYTES: usize = 4 * 1024;
/// The size of a pipe's buffer on Linux: one read empties it.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Reads of one stream before the clock and the other stream get their turn.
const READS_PER_TURN: u32 = 16;

/// Runs it. Returns the channel (for the last word) and the record.
pub fn run(spec: &RunSpec, folder: &Path, signals: &Signals, live: Live) -> (Live, ExitRecord) {
    let started_at_ms = clock::monotonic_ms();
    let masks = Masks::of(&spec.secrets);
    let child = match child::start(spec, folder) {
        Ok(child) => child,
        Err(why) => {
            return (
                live,
                ExitRecord::without_output(Ending::CannotRun { why }, 0),
            );
        }
    };
    let mut watch = Watch {
        spec,
        signals,
        main_pid: child.id(),
        main_ended: None,
        ended_at_ms: 0,
        deadline_ms: started_at_ms.saturating_add(spec.timeout_ms),
        outputs: outputs(child, folder, &masks),
        live,
        buffer: vec![0; READ_BYTES],
    };
    let ending = watch.until_ended();
    watch.end_outputs();
    let duration_ms = clock::monotonic_ms().saturating_sub(started_at_ms);
    if let Some(cgroup) = &spec.cgroup {
        // Refused while something the program left behind still lives there.
        let _ = std::fs::remove_dir(cgroup);
    }
    let [stdout, stderr] = watch.outputs.map(|output| output.spool.finish());
    let output_trouble = stdout.1.or(stderr.1).unwrap_or_default();
    let record = ExitRecord {
        ending,
        duration_ms,
        stdout: stdout.0,
        stderr: stderr.0,
        output_trouble,
        result: if spec.leaves_result {
            OwnResult::read(folder).hiding(&masks)
        } else {
            OwnResult::NotExpected
        },
    };
    (watch.live, record)
}

/// Ends all that is left of a run.
pub fn kill_all(spec: &RunSpec, signals: &Signals) {
    tree::kill_descendants(spec.cgroup.as_deref(), |time| wait_for(signals, time));
}

struct Watch<'a> {
    spec: &'a RunSpec,
    signals: &'a Signals,
    main_pid: u32,
    main_ended: Option<tree::Ended>,
    /// When `main_ended` was seen.
    ended_at_ms: u64,
    deadline_ms: u64,
    outputs: [Output; 2],
    live: Live,
    buffer: Vec<u8>,
}

struct Output {
    stream: Stream,
    /// `None` after its end.
    pipe: Option<OwnedFd>,
    /// What it prints goes through here first.
    masked: Masked,
    spool: Spool,
}

impl Watch<'_> {
    fn until_ended(&mut self) -> Ending {
        loop {
            let now_ms = clock::monotonic_ms();
            if let Some(ended) = self.main_ended {
                let drained = self.outputs.iter().all(|output| output.pipe.is_none());
                if drained || now_ms >= self.ended_at_ms + LINGER_MS {
                    return ending_of(&ended);
                }
            } else if now_ms >= self.deadline_ms {
                return self.kill(Ending::TimedOut);
            }
            if self.live.due_at_ms().is_some_and(|due| due <= now_ms) {
                self.live.flush();
            }
            self.wait(now_ms);
            self.read_outputs();
            for signal in self.signals.take() {
                match signal {
                    Signal::ChildEnded => self.reap(),
                    // A program that has ended has an outcome of its own.
                    Signal::Cancel | Signal::Stop if self.main_ended.is_some() => {}
                    Signal::Cancel => return self.kill(Ending::Cancelled),
                    Signal::Stop => return self.kill(Ending::StoppedFromOutside),
                }
            }
        }
    }

    fn kill(&mut self, ending: Ending) -> Ending {
        kill_all(self.spec, self.signals);
        self.read_outputs();
        ending
    }

    /// Nothing more comes: what was held back because it might have been the beginning of a secret.
    fn end_outputs(&mut self) {
        let now_ms = clock::monotonic_ms();
        for output in &mut self.outputs {
            let data = std::mem::take(&mut output.masked).finish();
            if !data.is_empty() {
                let offset = output.spool.total_bytes();
                self.live.push(output.stream, offset, &data, now_ms);
                output.spool.push(&data);
            }
        }
    }

    fn reap(&mut self) {
        for ended in tree::reap() {
            if ended.pid == self.main_pid {
                self.main_ended = Some(ended);
                self.ended_at_ms = clock::monotonic_ms();
            }
        }
    }

    /// Sleeps until there is output, a signal, or something to do by the clock.
    fn wait(&self, now_ms: u64) {
        let mut wake_at_ms = match self.main_ended {
            Some(_) => self.ended_at_ms + LINGER_MS,
            None => self.deadline_ms,
        };
        if let Some(due) = self.live.due_at_ms() {
            wake_at_ms = wake_at_ms.min(due);
        }
        let mut fds = vec![PollFd::new(self.signals.fd(), PollFlags::IN)];
        for pipe in self
            .outputs
            .iter()
            .filter_map(|output| output.pipe.as_ref())
        {
            fds.push(PollFd::new(pipe, PollFlags::IN));
        }
        // An interrupted poll is as good as a short one.
        let _ = poll(&mut fds, Some(&timespec(wake_at_ms.saturating_sub(now_ms))));
    }

    fn read_outputs(&mut self) {
        let now_ms = clock::monotonic_ms();
        for output in &mut self.outputs {
            for _ in 0..READS_PER_TURN {
                let Some(pipe) = &output.pipe else { break };
                match rustix::io::read(pipe, &mut self.buffer) {
                    Ok(0) => output.pipe = None,
                    Ok(count) => {
                        let data = self.buffer.get(..count).unwrap_or_default();
                        let data = output.masked.push(data);
                        if !data.is_empty() {
                            let offset = output.spool.total_bytes();
                            self.live.push(output.stream, offset, &data, now_ms);
                            output.spool.push(&data);
                        }
                        if count == self.buffer.len() && count < READ_BYTES_MAX {
                            self.buffer.resize(READ_BYTES_MAX, 0);
                        }
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(_) => output.pipe = None,
                }
            }
        }
    }
}

fn outputs(mut child: Child, folder: &Path, masks: &Masks) -> [Output; 2] {
    let output = |stream, pipe: Option<OwnedFd>| Output {
        stream,
        // A pipe that cannot be made non-blocking could stop the clock; no kernel refuses this.
        pipe: pipe.filter(|pipe| rustix::io::ioctl_fionbio(pipe, true).is_ok()),
        masked: masks.stream(),
        spool: Spool::new(folder, stream),
    };
    [
        output(Stream::Stdout, child.stdout.take().map(OwnedFd::from)),
        output(Stream::Stderr, child.stderr.take().map(OwnedFd::from)),
    ]
}

fn ending_of(ended: &tree::Ended) -> Ending {
    match (ended.exit_code, ended.signal) {
        (Some(code), _) => Ending::Exited { code },
        (None, Some(signal)) => Ending::Signalled { signal },
        // A wait without WUNTRACED tells of nothing else.
        (None, None) => Ending::CannotRun {
            why: "ended in no known way".to_owned(),
        },
    }
}

fn wait_for(signals: &Signals, time: Duration) {
    let mut fds = [PollFd::new(signals.fd(), PollFlags::IN)];
    let _ = poll(
        &mut fds,
        Some(&timespec(u64::try_from(time.as_millis()).unwrap_or(1))),
    );
    // The caller looks at the processes themselves.
    signals.take();
}

fn timespec(milliseconds: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(milliseconds / 1_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(milliseconds % 1_000).unwrap_or_default() * 1_000_000,
    }
}
