//! A small process forked from the agent before it grows threads. It forks supervisors, which saves each of them the
//! loading of the program: most of what a short command costs. It ends with the agent; supervisors do not.
#![expect(unsafe_code, reason = "fork has no safe form")]

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// PATH_MAX on Linux.
const FOLDER_BYTES_MAX: usize = 4096;

/// The agent's handle.
pub struct Spawner {
    socket: OwnedFd,
}

impl Spawner {
    /// Forks it. To be called while this process has one thread only.
    pub fn start() -> io::Result<Self> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        if fork()? {
            drop(ours);
            // Whatever happens, this process must not come back as a second agent.
            let _ = catch_unwind(AssertUnwindSafe(|| serve(&theirs)));
            end(0);
        }
        Ok(Self { socket: ours })
    }

    /// Asks for a supervisor over `channel` for the run in `folder`. It announces itself there, or the channel ends.
    pub fn spawn(&self, folder: &Path, channel: BorrowedFd<'_>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let channels = [channel];
        control.push(SendAncillaryMessage::ScmRights(&channels));
        let name = IoSlice::new(folder.as_os_str().as_bytes());
        sendmsg(
            &self.socket,
            &[name],
            &mut control,
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }
}

/// Until the agent is gone.
fn serve(socket: &OwnedFd) {
    // Away from the agent's terminal, and from its log: supervisors outlive both.
    if rustix::process::setsid().is_err() || silence().is_err() || forget_children().is_err() {
        return;
    }
    while let Ok(Some((channel, folder))) = receive(socket) {
        match fork() {
            Ok(true) => {
                let done = catch_unwind(AssertUnwindSafe(|| {
                    super::supervise(channel, Path::new(&folder))
                }));
                end(i32::from(done.is_err()));
            }
            // Without a supervisor the channel ends, which the agent understands.
            Ok(false) | Err(_) => drop(channel),
        }
    }
}

/// The next request; `None` when the agent has gone.
fn receive(socket: &OwnedFd) -> io::Result<Option<(OwnedFd, std::ffi::OsString)>> {
    loop {
        let mut name = [0; FOLDER_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut name)];
        let count = match recvmsg(socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => message.bytes,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let channel = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut channels) => channels.next(),
            _ => None,
        });
        if count == 0 {
            return Ok(None);
        }
        if let Some(channel) = channel {
            let name = name.get(..count).unwrap_or_default();
            return Ok(Some((
                channel,
                std::ffi::OsStr::from_bytes(name).to_owned(),
            )));
        }
    }
}

fn silence() -> io::Result<()> {
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR,
        rustix::fs::Mode::empty(),
    )?;
    rustix::stdio::dup2_stdin(null.as_fd())?;
    rustix::stdio::dup2_stdout(null.as_fd())?;
    rustix::stdio::dup2_stderr(null.as_fd())?;
    Ok(())
}

/// Supervisors that end are not waited for. A supervisor itself installs a handler instead.
fn forget_children() -> io::Result<()> {
    // SAFETY: SIG_IGN is a valid disposition, and no other thread exists.
    if unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Returns true in the child.
fn fork() -> io::Result<bool> {
    // SAFETY: this process has one thread (the spawner always, the agent before it starts its runtime), so the child's
    // copy of memory, locks included, is as consistent as the original.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(true),
        _ => Ok(false),
    }
}

/// Ends at once, without the handlers the agent may have registered.
fn end(code: i32) -> ! {
    // SAFETY: never returns and touches no memory of this process.
    unsafe { libc::_exit(code) }
}
