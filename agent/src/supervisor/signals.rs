//! Signals as bytes on a pipe, so that one poll waits for them and for output. Handlers, unlike a blocked mask or an
//! ignored signal, do not survive into the script.
#![expect(
    unsafe_code,
    reason = "sigaction has no safe form, and a signal mask would be inherited by the script"
)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::pipe::{PipeFlags, pipe_with};

/// What a supervisor listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    ChildEnded,
    /// The agent wants the run ended.
    Cancel,
    /// The machine, or a person, wants the supervisor ended.
    Stop,
}

/// The signal by which the agent asks a supervisor to end its run.
pub const CANCEL: rustix::process::Signal = rustix::process::Signal::USR1;

/// Where handlers write; set once, before any handler is installed.
static PIPE: AtomicI32 = AtomicI32::new(-1);

pub struct Signals {
    read_end: OwnedFd,
    /// Kept open for as long as handlers may write to it.
    _write_end: OwnedFd,
}

impl Signals {
    /// Starts to listen. Once per process.
    pub fn listen() -> io::Result<Self> {
        let (read_end, write_end) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        PIPE.store(write_end.as_raw_fd(), Ordering::SeqCst);
        for signal in [
            libc::SIGCHLD,
            libc::SIGUSR1,
            libc::SIGTERM,
            libc::SIGINT,
            libc::SIGHUP,
        ] {
            install(signal)?;
        }
        Ok(Self {
            read_end,
            _write_end: write_end,
        })
    }

    /// Readable when a signal has come.
    pub fn fd(&self) -> &OwnedFd {
        &self.read_end
    }

    /// The signals that came since the last call; repeated ones may be one.
    pub fn take(&self) -> Vec<Signal> {
        let mut bytes = [0; 64];
        let mut taken = Vec::new();
        while let Ok(count @ 1..) = rustix::io::read(&self.read_end, &mut bytes) {
            for byte in bytes.iter().take(count) {
                match i32::from(*byte) {
                    libc::SIGCHLD => taken.push(Signal::ChildEnded),
                    libc::SIGUSR1 => taken.push(Signal::Cancel),
                    libc::SIGTERM | libc::SIGINT => taken.push(Signal::Stop),
                    // A hang-up means nothing to a process without a terminal.
                    _ => {}
                }
            }
        }
        taken
    }
}

fn install(signal: i32) -> io::Result<()> {
    // SAFETY: an all-zero sigaction is a valid value (no flags, empty mask); the handler is set right below.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as extern "C" fn(i32) as usize;
    action.sa_flags = libc::SA_RESTART | libc::SA_NOCLDSTOP;
    // SAFETY: `action` is initialised, and the handler only makes async-signal-safe calls.
    if unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

extern "C" fn on_signal(signal: i32) {
    let byte = u8::try_from(signal).unwrap_or_default();
    let pipe = PIPE.load(Ordering::SeqCst);
    // SAFETY: errno of the interrupted code is put back; write(2) is async-signal-safe and `byte` outlives the call. A
    // full pipe loses nothing: the reader looks at everything after any byte.
    unsafe {
        let errno = libc::__errno_location();
        let saved = *errno;
        libc::write(pipe, std::ptr::from_ref(&byte).cast(), 1);
        *errno = saved;
    }
}
