//! Tries a library in a process of its own before the server loads it: a constructor that crashes, a panic that nobody
//! contained or a hang then costs that process and not the server. The child runs what loading would run, with a host
//! that offers nothing, and its answer is thrown away.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use fleetwright_plugin_api::abi::{
    AnyIface, RBox, ROption, RStr, RVec, ServerApi, ServerApi_TO, TD_Opaque,
};

use super::Library;

/// The server's own hidden command that runs [`child`].
pub const COMMAND: &str = "probe-module";
/// As long as loading itself may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Between looks at the child. Loading takes some ten milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Of what the child said last, at most this much is told.
const WORDS_CHARS_MAX: usize = 200;

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// From now on libraries are tried by this program, which must run [`child`] when it gets [`COMMAND`].
pub fn enable(program: PathBuf) {
    let _ = PROGRAM.set(program);
}

/// The program that tries libraries, where there is one.
pub fn program() -> Option<&'static Path> {
    PROGRAM.get().map(PathBuf::as_path)
}

/// Runs `program probe-module` on the sealed library. The error is one line for people.
pub fn try_in_child(program: &Path, sealed: &OwnedFd) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("it could not be tried: {error}");
    let library = sealed.try_clone().map_err(failed)?;
    let mut child = Command::new(program)
        .arg(COMMAND)
        .env_clear()
        .stdin(Stdio::from(library))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let Some(status) = wait(&mut child).map_err(failed)? else {
        let _ = child.kill();
        let _ = child.wait();
        return Err("it did not come back from being tried within 30 s".to_owned());
    };
    if status.success() {
        return Ok(());
    }
    Err(format!(
        "it ends the process that loads it ({}){}",
        ended(status),
        last_words(&mut child)
    ))
}

/// The child's part: loads the library on standard input and calls what a server calls first. What that answers is the
/// server's to find out; that it answers at all is what is tried here.
pub fn child() -> std::io::Result<()> {
    let library = OwnedFd::from(File::open("/proc/self/fd/0")?);
    let bytes = read_all(&File::from(library.try_clone()?))?;
    let Ok(info) = fleetwright_signing::read_info(&bytes) else {
        return Ok(());
    };
    if let Ok(library) = Library::open(library, info) {
        let _ = library.migrations();
        let nothing = ServerApi_TO::from_value(Nothing, TD_Opaque);
        let _ = library.router(AnyIface::new::<ServerApi_TO<RBox<()>>>(nothing));
    }
    Ok(())
}

/// A host without interfaces: a module built with the SDK says so and stops.
struct Nothing;

impl ServerApi for Nothing {
    fn interface(&self, _name: RStr<'_>) -> ROption<AnyIface> {
        ROption::RNone
    }

    fn environment(&self) -> RVec<u8> {
        b"{}".to_vec().into()
    }
}

/// From the beginning, whatever has been read of it already.
fn read_all(file: &File) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or_default()];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// `None` when the time is up.
fn wait(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    while began.elapsed() < DEADLINE {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
    Ok(None)
}

fn ended(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(code)) => format!("code {code}"),
        (None, None) => "for no known reason".to_owned(),
    }
}

/// The first line the child wrote, usually a panic's.
fn last_words(child: &mut Child) -> String {
    let mut text = Vec::new();
    if let Some(stderr) = &mut child.stderr {
        // What is in the pipe; the child is gone, so this ends.
        let _ = stderr.take(4_096).read_to_end(&mut text);
    }
    let text = String::from_utf8_lossy(&text);
    let words: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .take(2)
        .collect();
    if words.is_empty() {
        return String::new();
    }
    let words: String = words
        .join(" ")
        .chars()
        .filter(|letter| !letter.is_control())
        .take(WORDS_CHARS_MAX)
        .collect();
    format!(": {words}")
}
