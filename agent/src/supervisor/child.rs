//! Starts the script's process with exactly the surroundings its run names.
#![expect(unsafe_code, reason = "code between fork and exec has no safe form")]

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};

use super::spec::{AccountIds, RunSpec};

/// Starts it in a process group of its own. The error is a sentence for a person.
pub fn start(spec: &RunSpec, folder: &Path) -> Result<Child, String> {
    let stdin = if let Some(secret) = &spec.stdin_secret {
        let file = in_memory(secret.bytes())
            .map_err(|error| format!("cannot hold the run's stdin: {error}"))?;
        Stdio::from(file)
    } else if spec.has_stdin {
        let file = File::open(folder.join("stdin"))
            .map_err(|error| format!("cannot read the run's stdin: {error}"))?;
        Stdio::from(file)
    } else {
        Stdio::null()
    };
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.arguments)
        .env_clear()
        .envs(&spec.environment)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if spec.account.is_none() && spec.cgroup.is_none() {
        // Without code between fork and exec the start is a vfork, twice as fast.
        command.current_dir(&spec.working_directory);
    } else {
        prepare_in_child(&mut command, spec)?;
    }
    command.spawn().map_err(|error| cannot_start(spec, &error))
}

/// A file that has no name and is on no disk.
fn in_memory(content: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("stdin", MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

fn prepare_in_child(command: &mut Command, spec: &RunSpec) -> Result<(), String> {
    let directory = CString::new(spec.working_directory.as_str())
        .map_err(|_| "the working directory holds a NUL".to_owned())?;
    let procs = match &spec.cgroup {
        None => None,
        Some(cgroup) => {
            let file = File::options()
                .write(true)
                .open(cgroup.join("cgroup.procs"));
            Some(file.map_err(|error| format!("cannot use {}: {error}", cgroup.display()))?)
        }
    };
    let account = spec.account.clone();
    let in_child = move || {
        if let Some(procs) = &procs {
            rustix::io::write(procs, b"0")?;
        }
        if let Some(account) = &account {
            become_account(account)?;
        }
        // As the account, so that its rights decide.
        // SAFETY: chdir(2) is async-signal-safe; the text was made before the fork and ends in NUL.
        if unsafe { libc::chdir(directory.as_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only: no allocation, no locks.
    unsafe { command.pre_exec(in_child) };
    Ok(())
}

fn become_account(account: &AccountIds) -> io::Result<()> {
    // SAFETY: plain system calls on numbers and on a slice that outlives them; groups first, while it may.
    let done = unsafe {
        libc::setgroups(account.groups.len(), account.groups.as_ptr()) == 0
            && libc::setresgid(account.group, account.group, account.group) == 0
            && libc::setresuid(account.user, account.user, account.user) == 0
    };
    if done {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The kernel says "not found" of the program and of the folder alike.
fn cannot_start(spec: &RunSpec, error: &io::Error) -> String {
    let directory = &spec.working_directory;
    match std::fs::metadata(directory) {
        Err(error) => format!("cannot use the working directory {directory}: {error}"),
        Ok(found) if !found.is_dir() => {
            format!("the working directory {directory} is not a folder")
        }
        Ok(_) => format!("cannot run {} in {directory}: {error}", spec.program),
    }
}
