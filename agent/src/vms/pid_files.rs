//! A folder of `<vm-id>.pid`: libvirt's own, or one that an operator's tools keep. A machine runs while the process of its file
//! does; what it takes of the host is that process' memory.

use std::collections::BTreeMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use fleetwright_protocol::VmReport;
use rustix::fs::OFlags;
use rustix::process::{Pid, test_kill_process};

use crate::procfs::{self, Process};

/// Entries looked at: four times the machines that are kept, with whatever else is in the folder.
const ENTRIES_MAX: usize = 16 * 1024;
/// A number and the end of its line take eleven.
const PID_BYTES_MAX: u64 = 64;
/// A process writes its file, or has it written, soon after it starts. One that started so long after its file was written has
/// another's number.
const STARTS_AFTER_SECONDS_MAX: i64 = 60;
/// libvirt notes itself among its machines.
const LIBVIRT_ITSELF: &str = "driver";

pub struct PidFiles {
    folder: PathBuf,
    skipped: Option<&'static str>,
    /// Of each machine, what was taken for it: a clock that is set later makes no doubt of it.
    believed: BTreeMap<String, Believed>,
}

/// A file as it was, and the process it named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Believed {
    file: (u64, i64, i64),
    pid: u32,
    start_ticks: u64,
}

/// What a file says of its machine.
enum State {
    Runs { memory_resident_mb: Option<u64> },
    Ended,
}

impl PidFiles {
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            skipped: None,
            believed: BTreeMap::new(),
        }
    }

    /// Where libvirt notes the machines that run.
    pub fn of_libvirt(folder: PathBuf) -> Self {
        Self {
            skipped: Some(LIBVIRT_ITSELF),
            ..Self::new(folder)
        }
    }

    /// The machines that run now. An error says nothing of any of them.
    pub fn look(&mut self) -> io::Result<Vec<VmReport>> {
        let about = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.folder.display()))
        };
        let started_at = procfs::boot_unix_seconds();
        let mut before = std::mem::take(&mut self.believed);
        let mut vms = Vec::new();
        for entry in std::fs::read_dir(&self.folder)
            .map_err(about)?
            .take(ENTRIES_MAX)
        {
            let entry = entry.map_err(about)?;
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".pid")) else {
                continue;
            };
            let mut vm = VmReport::named(id);
            if !vm.is_sound() || self.skipped == Some(id) {
                continue;
            }
            let believed = before.remove(id);
            let (state, believed) = state(&entry.path(), believed, started_at).map_err(about)?;
            self.believed
                .extend(believed.map(|believed| (vm.id.clone(), believed)));
            if let State::Runs { memory_resident_mb } = state {
                vm.memory_resident_mb = memory_resident_mb;
                vms.push(vm);
            }
        }
        Ok(vms)
    }
}

/// Of one file, with what is to be believed of it next time.
fn state(
    path: &Path,
    believed: Option<Believed>,
    boot_at: Option<i64>,
) -> io::Result<(State, Option<Believed>)> {
    let unknown = State::Runs {
        memory_resident_mb: None,
    };
    let (pid, file) = match read(path) {
        Ok(Some((pid, file))) => (pid, file),
        // It ended between two looks, or is being written.
        Ok(None) => return Ok((State::Ended, believed)),
        // It is there, and more may not be known.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Ok((unknown, believed));
        }
        Err(error) => return Err(error),
    };
    let Some(process) = procfs::process(pid.as_raw_pid().unsigned_abs()) else {
        // Processes of others may be hidden.
        let is_there = !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH));
        let state = if is_there { unknown } else { State::Ended };
        return Ok((state, believed));
    };
    let now = Believed {
        file: (file.ino(), file.mtime(), file.mtime_nsec()),
        pid: process.pid,
        start_ticks: process.start_ticks,
    };
    let known = believed.filter(|known| (known.file, known.pid) == (now.file, now.pid));
    let is_it = match known {
        Some(known) => known == now,
        None => boot_at.is_none_or(|boot_at| may_have_written(&process, &file, boot_at)),
    };
    if process.zombie || !is_it {
        return Ok((State::Ended, known));
    }
    let runs = State::Runs {
        memory_resident_mb: procfs::memory_resident_mb(process.pid),
    };
    Ok((runs, Some(now)))
}

/// Whether the process may have been there when its file was written.
fn may_have_written(process: &Process, file: &Metadata, boot_at: i64) -> bool {
    let seconds = process.start_ticks / rustix::param::clock_ticks_per_second().max(1);
    let started_at = boot_at.saturating_add_unsigned(seconds);
    started_at <= file.mtime().saturating_add(STARTS_AFTER_SECONDS_MAX)
}

/// The number in a file, if there is one; never waits, whatever has the name.
fn read(path: &Path) -> io::Result<Option<(Pid, Metadata)>> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file: File = match opened {
        Ok(file) => file,
        Err(error) => {
            // It is gone; a socket; a link without end.
            let is_none = [libc::ENOENT, libc::ENXIO, libc::ELOOP].map(Some);
            return match is_none.contains(&error.raw_os_error()) {
                true => Ok(None),
                false => Err(error),
            };
        }
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.take(PID_BYTES_MAX).read_to_end(&mut text)?;
    let number = str::from_utf8(&text)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .filter(|number| *number > 0)
        .and_then(Pid::from_raw);
    Ok(number.map(|pid| (pid, metadata)))
}

#[cfg(test)]
mod tests {
    use std::io::BufRead as _;
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// A process that stands for a machine; ends with the test.
    struct Machine(Child);

    impl Machine {
        fn start(script: &str) -> Self {
            let mut command = Command::new("sh");
            let piped = command.args(["-c", script]).stdout(Stdio::piped());
            let mut child = piped.stdin(Stdio::piped()).spawn().unwrap();
            let mut ready = String::new();
            let mut said = io::BufReader::new(child.stdout.take().unwrap());
            said.read_line(&mut ready).unwrap();
            assert_eq!(ready, "ready\n");
            Self(child)
        }

        fn idle() -> Self {
            Self::start("echo ready; exec sleep 1000")
        }

        fn pid(&self) -> u32 {
            self.0.id()
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn put(folder: &Path, name: &str, text: impl ToString) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text.to_string()).unwrap();
        path
    }

    fn ids(files: &mut PidFiles) -> Vec<String> {
        let mut ids: Vec<String> = files.look().unwrap().into_iter().map(|vm| vm.id).collect();
        ids.sort();
        ids
    }

    #[test]
    fn a_machine_is_there_with_its_memory_while_its_process_runs() {
        let folder = tempfile::tempdir().unwrap();
        let large =
            Machine::start("x=$(head -c 48000000 /dev/zero | tr '\\0' a); echo ready; read y");
        let mut small = Machine::idle();
        put(folder.path(), "large.pid", large.pid());
        let file = put(folder.path(), "small.pid", format!("{}\n", small.pid()));
        let mut files = PidFiles::new(folder.path().to_owned());
        let seen = files.look().unwrap();
        let memory = |id: &str| {
            let vm = seen.iter().find(|vm| vm.id == id).unwrap();
            vm.memory_resident_mb.unwrap()
        };
        assert!((45..500).contains(&memory("large")), "{seen:?}");
        assert!(memory("small") < 40, "{seen:?}");
        // Dead and not yet looked at by its parent, then gone: its file says nothing about it.
        small.0.kill().unwrap();
        while !procfs::process(small.pid()).unwrap().zombie {
            std::thread::yield_now();
        }
        assert_eq!(ids(&mut files), ["large"]);
        drop(small);
        assert_eq!(ids(&mut files), ["large"]);
        assert!(file.exists());
        drop(large);
        assert_eq!(ids(&mut files), [""; 0]);
        std::fs::remove_dir_all(folder.path()).unwrap();
        let why = files.look().unwrap_err();
        assert_eq!(why.kind(), io::ErrorKind::NotFound, "no folder is not none");
    }

    #[test]
    fn a_number_that_another_process_has_now_is_no_machine() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::idle();
        let path = put(folder.path(), "a.pid", machine.pid());
        let boot_at = procfs::boot_unix_seconds();
        let runs = |believed, boot_at| {
            let (state, believed) = state(&path, believed, boot_at).unwrap();
            (matches!(state, State::Runs { .. }), believed)
        };
        let (is_there, believed) = runs(None, boot_at);
        assert!(is_there && believed.is_some());
        // A clock that is set makes no other process of one that is known.
        let later = boot_at.map(|at| at + 10 * 24 * 3600);
        assert_eq!(runs(believed, later), (true, believed));
        assert_eq!(runs(None, later), (false, None));
        assert_eq!(runs(None, None), (true, believed));
        let other = believed.map(|known| Believed {
            start_ticks: known.start_ticks - 1,
            ..known
        });
        assert_eq!(runs(other, boot_at), (false, other));
        // Written before its process was there, by far.
        let mut files = PidFiles::new(folder.path().to_owned());
        assert_eq!(ids(&mut files), ["a"]);
        let file = File::options().write(true).open(&path).unwrap();
        let now = file.metadata().unwrap().modified().unwrap();
        file.set_modified(now - DAY).unwrap();
        assert_eq!(ids(&mut files), [""; 0]);
        file.set_modified(now).unwrap();
        assert_eq!(ids(&mut files), ["a"], "the file was written again");
    }

    #[test]
    fn what_is_no_pid_file_of_a_machine_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::idle();
        let pid = machine.pid();
        for (name, text) in [
            ("empty.pid", String::new()),
            ("word.pid", "qemu".to_owned()),
            ("zero.pid", "0".to_owned()),
            ("group.pid", format!("-{pid}")),
            ("two.pid", format!("{pid} {pid}")),
            ("huge.pid", "9".repeat(1_000)),
            ("a.xml", pid.to_string()),
            ("pid", pid.to_string()),
            (".pid", pid.to_string()),
            ("a\n.pid", pid.to_string()),
            (&format!("{}.pid", "x".repeat(129)), pid.to_string()),
            ("driver.pid", pid.to_string()),
            (&format!("{}.pid", "y".repeat(128)), pid.to_string()),
            ("web.1.pid", format!(" {pid}\n\n")),
        ] {
            put(folder.path(), name, text);
        }
        std::fs::create_dir(folder.path().join("folder.pid")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("dangling.pid")).unwrap();
        std::os::unix::fs::symlink("ring.pid", folder.path().join("ring.pid")).unwrap();
        std::os::unix::net::UnixListener::bind(folder.path().join("socket.pid")).unwrap();
        let pipe = folder.path().join("pipe.pid");
        let status = Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(status.success());
        let good = ["web.1".to_owned(), "y".repeat(128)];
        let mut libvirt = PidFiles::of_libvirt(folder.path().to_owned());
        assert_eq!(ids(&mut libvirt), good);
        let mut own = PidFiles::new(folder.path().to_owned());
        assert_eq!(ids(&mut own), ["driver", &good[0], &good[1]]);
    }
}
