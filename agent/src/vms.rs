//! The virtual machines of this host, for its heartbeats. A thread of its own looks; a heartbeat takes what was seen last and
//! never waits. What is too old is not known, which is something else than that nothing runs.

mod command;
mod pid_files;
mod said;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fleetwright_protocol::VmReport;

use crate::clock;
use crate::config::{Config, VmsSource};
use command::ListCommand;
use pid_files::PidFiles;

/// What was seen longer ago than so many heartbeats is not known any more.
const HEARTBEATS_MAX: u32 = 3;
/// A command that lists machines takes a second on a large host; one that takes this long hangs.
const COMMAND_WITHIN: Duration = Duration::from_secs(10);

/// What the last look saw. Dropping it ends the looking.
pub struct Vms {
    seen: Arc<Mutex<Option<Seen>>>,
    /// Tells how often to look; none if nobody does.
    looker: Option<Sender<Duration>>,
    period: Duration,
}

struct Seen {
    vms: Vec<VmReport>,
    at_ms: u64,
}

impl Vms {
    /// Nothing is known, and nobody looks.
    pub fn unknown() -> Self {
        Self {
            seen: Arc::default(),
            looker: None,
            period: Duration::ZERO,
        }
    }

    /// Begins to look, as the settings say. Facts of the settings need no look.
    pub fn of(config: &Config) -> Self {
        if config.facts.vms.is_some() {
            return Self::unknown();
        }
        let period = Duration::from_secs(config.heartbeat_seconds_or_default());
        match Source::of(config) {
            Some(source) => Self::following(source, period),
            None => Self::unknown(),
        }
    }

    fn following(source: Source, period: Duration) -> Self {
        let seen = Arc::default();
        let (looker, periods) = channel();
        let shared = Arc::clone(&seen);
        // Detached: a look that hangs in the kernel must not keep the agent from ending.
        let thread = std::thread::Builder::new().name("vms".to_owned());
        let looker = match thread.spawn(move || look_on(source, &shared, period, &periods)) {
            Ok(_) => Some(looker),
            Err(error) => {
                tracing::error!(%error, "cannot look at the virtual machines");
                None
            }
        };
        Self {
            seen,
            looker,
            period,
        }
    }

    /// The machines, sorted by id; none if it is not known which run. `period` is that of the heartbeats now: as often is looked.
    pub fn latest(&mut self, period: Duration) -> Option<Vec<VmReport>> {
        let looker = self.looker.as_ref()?;
        if std::mem::replace(&mut self.period, period) != period {
            // Whoever looked and has ended leaves a list that grows old.
            let _ = looker.send(period);
        }
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.as_ref()?;
        is_fresh(seen.at_ms, clock::boot_ms(), period).then(|| seen.vms.clone())
    }
}

fn is_fresh(seen_ms: u64, now_ms: u64, period: Duration) -> bool {
    let age = Duration::from_millis(now_ms.saturating_sub(seen_ms));
    age <= period * HEARTBEATS_MAX
}

/// Looks until nobody wants to know.
fn look_on(
    mut source: Source,
    seen: &Mutex<Option<Seen>>,
    mut period: Duration,
    periods: &Receiver<Duration>,
) {
    let mut trouble = None;
    loop {
        match source.look() {
            Ok(mut vms) => {
                vms.sort();
                vms.dedup_by(|one, other| one.id == other.id);
                if trouble.take().is_some() {
                    tracing::info!(count = vms.len(), "the virtual machines are known again");
                }
                let now = Seen {
                    vms,
                    at_ms: clock::boot_ms(),
                };
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
            }
            Err(why) => {
                if trouble.as_ref() != Some(&why) && !source.may_be_absent() {
                    tracing::warn!(%why, "cannot tell which virtual machines run");
                }
                trouble = Some(why);
            }
        }
        match periods.recv_timeout(period) {
            Ok(other) => period = other,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Where the list comes from.
enum Source {
    PidFiles { files: PidFiles, is_optional: bool },
    Command(ListCommand),
}

impl Source {
    fn of(config: &Config) -> Option<Self> {
        let libvirt = |is_optional| Self::PidFiles {
            files: PidFiles::of_libvirt(config.system.libvirt_dir().to_owned()),
            is_optional,
        };
        let settings = &config.vms;
        match settings.source {
            VmsSource::Auto => Some(libvirt(true)),
            VmsSource::Libvirt => Some(libvirt(false)),
            VmsSource::PidDir => settings.pid_dir.clone().map(Self::pid_files),
            VmsSource::Command => settings.command.clone().map(|argv| {
                Self::Command(ListCommand {
                    argv,
                    within: COMMAND_WITHIN,
                })
            }),
            VmsSource::None => None,
        }
    }

    fn pid_files(folder: PathBuf) -> Self {
        Self::PidFiles {
            files: PidFiles::new(folder),
            is_optional: false,
        }
    }

    /// Nobody is told of what is not here and was not asked for.
    fn may_be_absent(&self) -> bool {
        match self {
            Self::PidFiles { is_optional, .. } => *is_optional,
            Self::Command(_) => false,
        }
    }

    fn look(&mut self) -> Result<Vec<VmReport>, String> {
        match self {
            Self::PidFiles { files, .. } => files.look().map_err(|error| error.to_string()),
            Self::Command(command) => command.list().map_err(|error| error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use super::*;

    /// Long enough for a busy machine to run `sh` three times in, short enough to be waited for.
    const PERIOD: Duration = Duration::from_secs(1);
    const PATIENCE: Duration = Duration::from_secs(60);

    fn config(text: &str) -> Config {
        Config::from_parts(toml::from_str(text).unwrap(), std::iter::empty()).unwrap()
    }

    fn named(id: &str, memory: u64) -> Vec<VmReport> {
        vec![VmReport {
            id: id.to_owned(),
            memory_resident_mb: Some(memory),
        }]
    }

    /// Waits until this is known; what is known before must be the last or nothing.
    fn wait_for(vms: &mut Vms, last: Option<&[VmReport]>, wanted: Option<&[VmReport]>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let known = vms.latest(PERIOD);
            if known.as_deref() == wanted {
                return;
            }
            assert!(known.is_none() || known.as_deref() == last, "{known:?}");
            assert!(Instant::now() < deadline, "{known:?} is not {wanted:?}");
            std::thread::yield_now();
        }
    }

    fn command(script: &Path) -> Source {
        Source::Command(ListCommand {
            argv: vec!["sh".to_owned(), script.display().to_string()],
            within: Duration::from_secs(5),
        })
    }

    #[test]
    fn a_source_that_fails_or_hangs_makes_unknown_what_it_said_and_never_none() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("list");
        let write = |text: &str| {
            // Never half a script.
            let new = folder.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(new, &script).unwrap();
        };
        write("echo a 5");
        let mut vms = Vms::following(command(&script), PERIOD);
        let (five, six, none) = (named("a", 5), named("a", 6), Vec::new());
        wait_for(&mut vms, None, Some(&five));
        for broken in ["exit 1", "echo nonsense", "exec sleep 1000"] {
            write(broken);
            wait_for(&mut vms, Some(&five), None);
            write("echo a 6");
            wait_for(&mut vms, None, Some(&six));
            write("echo a 5");
            wait_for(&mut vms, Some(&six), Some(&five));
        }
        write("true");
        wait_for(&mut vms, Some(&five), Some(&none));
        // Nobody looks any more once nobody asks.
        let seen = Arc::downgrade(&vms.seen);
        drop(vms);
        let deadline = Instant::now() + PATIENCE;
        while seen.strong_count() > 0 {
            assert!(Instant::now() < deadline, "it still looks");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_is_three_heartbeats_old_is_not_known() {
        for (age_ms, period_seconds, expected) in [
            (0, 1, true),
            (3_000, 1, true),
            (3_001, 1, false),
            (30_000, 10, true),
            (30_001, 10, false),
            (900_000, 300, true),
        ] {
            let period = Duration::from_secs(period_seconds);
            let is = is_fresh(7, 7 + age_ms, period);
            assert_eq!(is, expected, "{age_ms} ms, {period_seconds} s");
        }
        assert!(is_fresh(9, 7, Duration::from_secs(1)), "seen meanwhile");
    }

    #[test]
    fn libvirt_is_met_when_it_comes_and_settings_choose_the_source() {
        let folder = tempfile::tempdir().unwrap();
        let libvirt = folder.path().join("qemu");
        let system = format!("[system]\nlibvirt_dir = {libvirt:?}\n");
        let look = |vms: &str| {
            Source::of(&config(&format!("{system}{vms}")))
                .unwrap()
                .look()
        };
        let chosen = "[vms]\nsource = 'libvirt'";
        assert!(look("").is_err() && look(chosen).is_err());
        std::fs::create_dir(&libvirt).unwrap();
        assert_eq!(look(""), Ok(vec![]));
        let me = std::process::id();
        std::fs::write(libvirt.join("web 1.pid"), me.to_string()).unwrap();
        std::fs::write(libvirt.join("web 1.xml"), "<domstatus/>").unwrap();
        std::fs::write(libvirt.join("driver.pid"), me.to_string()).unwrap();
        for settings in ["", "[vms]\nsource = 'auto'", chosen] {
            let seen = look(settings).unwrap();
            let ids: Vec<&str> = seen.iter().map(|vm| vm.id.as_str()).collect();
            assert_eq!(ids, ["web 1"], "{settings}");
            assert!(seen[0].memory_resident_mb.is_some_and(|memory| memory > 0));
        }
        assert!(Source::of(&config(chosen)).is_some_and(|source| !source.may_be_absent()));
        assert!(Source::of(&config("")).is_some_and(|source| source.may_be_absent()));
        let off = format!("{system}[vms]\nsource = 'none'");
        assert!(Source::of(&config(&off)).is_none());
        assert!(Vms::of(&config(&off)).looker.is_none());
        let said = config(&format!("{system}[facts]\nvms = ['x']"));
        assert!(
            Vms::of(&said).looker.is_none(),
            "what is said is not looked for"
        );
        let mut vms = Vms::of(&config(&system));
        let deadline = Instant::now() + PATIENCE;
        while vms.latest(Duration::from_secs(10)).is_none() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
    }

    #[test]
    fn one_id_is_one_machine() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("list");
        std::fs::write(&script, "printf 'b 2\\na 1\\nb 3\\n'").unwrap();
        let mut vms = Vms::following(command(&script), PERIOD);
        let both = [named("a", 1), named("b", 2)].concat();
        wait_for(&mut vms, None, Some(&both));
    }
}
