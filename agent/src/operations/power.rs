//! `reboot` and `shutdown`: how the machine is told, and what an ended run says about whether it was. That it comes back
//! with another boot is the proof, which `core` sees after its restart.

use std::path::Path;
use std::time::Duration;

use fleetwright_protocol::Outcome;
use fleetwright_protocol::operation::PowerChange;
use fleetwright_protocol::outcome::FailureReason;

use super::ending;
use super::result::OwnResult;
use super::surroundings::is_installed;
use super::tools::Tools;
use crate::journal::record::{PowerKind, PowerRun};
use crate::supervisor::exit_record::{Ending, ExitRecord};

/// The word that it has started must reach the server before the network is taken down.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// What can be seen of the ways to tell this host.
#[derive(Clone, Copy, Debug, Default)]
struct Signs {
    runs_systemd: bool,
    has_shutdown: bool,
    has_reboot: bool,
}

/// The command for this host: the configured one as it is, or what its init system understands.
pub fn command(
    kind: PowerKind,
    configured: Option<&[String]>,
    message: Option<&str>,
) -> Result<Vec<String>, String> {
    let signs = Signs {
        runs_systemd: Path::new("/run/systemd/system").is_dir(),
        has_shutdown: is_installed("shutdown"),
        has_reboot: is_installed("reboot") && is_installed("poweroff"),
    };
    choose(kind, configured, message, signs)
}

/// Waits as long as asked and tells the machine. `pause` is how to wait.
pub fn carry_out(
    change: &PowerChange,
    dry_run: bool,
    command: Result<Vec<String>, String>,
    privileged: bool,
    tools: &mut dyn Tools,
    pause: impl FnOnce(Duration),
) -> Outcome {
    let cannot = |why: String| Outcome::failed(FailureReason::AgentError, why);
    let argv = match command {
        Ok(argv) => argv,
        Err(why) => return cannot(why),
    };
    if !privileged {
        return cannot("this needs an agent that runs as root".to_owned());
    }
    let line = argv.join(" ");
    if dry_run {
        return Outcome {
            message: format!("would run {line} after {} s", change.delay_seconds),
            ..Outcome::succeeded(true)
        };
    }
    if let Some(message) = &change.message {
        println!("{message}");
    }
    pause(Duration::from_secs(change.delay_seconds).max(PAUSE_MIN));
    match tools.run(&argv) {
        Err(error) => cannot(format!("cannot run {line}: {error}")),
        // One that was ended by a signal may have been ended by what it asked for.
        Ok(said) if said.succeeded() || said.code.is_none() => Outcome {
            message: format!("{line} was run"),
            ..Outcome::succeeded(true)
        },
        Ok(said) => Outcome {
            exit_code: said.code,
            ..Outcome::failed(
                FailureReason::ExitCode,
                format!("{line} failed: {}", said.last_words()),
            )
        },
    }
}

/// Whether this ended run may have told the machine: it said so, or was ended by something that may be the machine
/// going down.
pub fn was_asked(record: &ExitRecord) -> bool {
    match &record.ending {
        Ending::Exited { code } => match &record.result {
            OwnResult::Left(result) => *code == 0 && result.succeeded,
            OwnResult::Missing | OwnResult::NotExpected => false,
        },
        Ending::Signalled { .. } | Ending::StoppedFromOutside => true,
        Ending::NeverStarted | Ending::CannotRun { .. } | Ending::TimedOut | Ending::Cancelled => {
            false
        }
    }
}

/// The outcome once the machine is back with another boot. `record` is what the run left, if it could.
pub fn returned(run: PowerRun, record: Option<ExitRecord>, now_unix_ms: u64) -> Outcome {
    let (what, done) = match run.kind {
        PowerKind::Reboot => ("the host is back with another boot", true),
        // Whoever started it again, it had been off.
        PowerKind::Shutdown => ("the host was off and is back", true),
    };
    let outcome = match run.kind {
        PowerKind::Reboot if now_unix_ms > run.deadline_unix_ms => Outcome {
            changed: done,
            ..Outcome::failed(
                FailureReason::TimedOut,
                "the host is back with another boot, but not in time",
            )
        },
        PowerKind::Reboot | PowerKind::Shutdown => Outcome {
            message: what.to_owned(),
            ..Outcome::succeeded(done)
        },
    };
    with_output(outcome, record)
}

/// The outcome when the machine still has not gone at the deadline.
pub fn never_came(run: PowerRun, record: Option<ExitRecord>) -> Outcome {
    let message = match run.kind {
        PowerKind::Reboot => "the host did not restart in time",
        PowerKind::Shutdown => "the host did not shut down in time",
    };
    let outcome = Outcome::failed(FailureReason::TimedOut, message);
    with_output(outcome, record)
}

/// The outcome when nobody wants to wait any longer.
pub fn given_up(record: Option<ExitRecord>) -> Outcome {
    let message = "cancelled after the host had been told, which cannot be taken back";
    let outcome = Outcome::failed(FailureReason::Cancelled, message);
    with_output(outcome, record)
}

/// What the command printed belongs to the result however it ends.
fn with_output(outcome: Outcome, record: Option<ExitRecord>) -> Outcome {
    let Some(ran) = record.and_then(ending::outcome) else {
        return outcome;
    };
    Outcome {
        stdout: ran.stdout,
        stderr: ran.stderr,
        duration_ms: ran.duration_ms,
        ..outcome
    }
}

fn choose(
    kind: PowerKind,
    configured: Option<&[String]>,
    message: Option<&str>,
    signs: Signs,
) -> Result<Vec<String>, String> {
    let mut argv: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| argv.extend(words.iter().map(|word| (*word).to_owned()));
    match (configured, kind) {
        (Some(words), PowerKind::Reboot | PowerKind::Shutdown) => return Ok(words.to_vec()),
        (None, PowerKind::Reboot) if signs.runs_systemd => add(&["systemctl", "reboot"]),
        (None, PowerKind::Shutdown) if signs.runs_systemd => add(&["systemctl", "poweroff"]),
        (None, PowerKind::Reboot) if signs.has_shutdown => add(&["shutdown", "-r", "now"]),
        (None, PowerKind::Shutdown) if signs.has_shutdown => add(&["shutdown", "-P", "now"]),
        (None, PowerKind::Reboot) if signs.has_reboot => add(&["reboot"]),
        (None, PowerKind::Shutdown) if signs.has_reboot => add(&["poweroff"]),
        (None, PowerKind::Reboot | PowerKind::Shutdown) => {
            return Err("this host has no command for it that is known".to_owned());
        }
    }
    match message {
        Some(message) if signs.runs_systemd => add(&[&format!("--message={message}")]),
        Some(message) if signs.has_shutdown => add(&["--", message]),
        Some(_) | None => {}
    }
    Ok(argv)
}

#[cfg(test)]
mod tests {
    use std::io;

    use fleetwright_protocol::outcome::OutcomeStatus;

    use super::*;
    use crate::operations::result::OperationResult;
    use crate::operations::tools::ToolOutput;

    const SYSTEMD: Signs = Signs {
        runs_systemd: true,
        has_shutdown: true,
        has_reboot: true,
    };
    const SYSV: Signs = Signs {
        runs_systemd: false,
        ..SYSTEMD
    };
    const BUSYBOX: Signs = Signs {
        has_shutdown: false,
        ..SYSV
    };

    #[test]
    fn each_host_is_told_in_its_own_words() {
        let own = ["/opt/off".to_owned(), "now".to_owned()];
        for (kind, configured, message, signs, expected) in [
            (PowerKind::Reboot, None, None, SYSTEMD, "systemctl reboot"),
            (
                PowerKind::Shutdown,
                None,
                Some("bye"),
                SYSTEMD,
                "systemctl poweroff --message=bye",
            ),
            (
                PowerKind::Reboot,
                None,
                Some("-h"),
                SYSV,
                "shutdown -r now -- -h",
            ),
            (PowerKind::Shutdown, None, None, SYSV, "shutdown -P now"),
            (PowerKind::Reboot, None, Some("bye"), BUSYBOX, "reboot"),
            (PowerKind::Shutdown, None, None, BUSYBOX, "poweroff"),
            (
                PowerKind::Reboot,
                Some(&own[..]),
                Some("bye"),
                SYSTEMD,
                "/opt/off now",
            ),
        ] {
            let argv = choose(kind, configured, message, signs).unwrap();
            assert_eq!(argv.join(" "), expected);
        }
        assert!(choose(PowerKind::Reboot, None, None, Signs::default()).is_err());
    }

    /// Ends as it is told, and counts.
    struct Told {
        code: Option<i32>,
        times: u32,
    }

    impl Tools for Told {
        fn run(&mut self, _: &[String]) -> io::Result<ToolOutput> {
            self.times += 1;
            Ok(ToolOutput {
                code: self.code,
                ..ToolOutput::default()
            })
        }
    }

    #[test]
    fn the_machine_is_told_once_after_the_delay_and_only_with_the_right_to() {
        let change = PowerChange {
            delay_seconds: 30,
            message: None,
        };
        for (dry_run, privileged, code, succeeds, times) in [
            (true, true, Some(0), true, 0),
            (true, false, Some(0), false, 0),
            (false, false, Some(0), false, 0),
            (false, true, Some(0), true, 1),
            (false, true, None, true, 1),
            (false, true, Some(1), false, 1),
        ] {
            let mut tools = Told { code, times: 0 };
            let mut paused = Duration::ZERO;
            let argv = Ok(vec!["x".to_owned()]);
            let outcome = carry_out(&change, dry_run, argv, privileged, &mut tools, |time| {
                paused = time;
            });
            assert_eq!(outcome.status == OutcomeStatus::Succeeded, succeeds);
            assert_eq!(outcome.changed, succeeds, "also what would change");
            assert_eq!(tools.times, times);
            assert_eq!(paused.as_secs(), u64::from(times) * 30);
        }
    }

    #[test]
    fn only_a_run_that_may_have_told_the_machine_is_waited_for() {
        let left = |outcome| OwnResult::Left(Box::new(OperationResult::of(outcome)));
        let good = || left(Outcome::succeeded(true));
        let bad = || left(Outcome::failed(FailureReason::ExitCode, "no"));
        for (ending, result, expected) in [
            (Ending::Exited { code: 0 }, good(), true),
            (Ending::Exited { code: 1 }, bad(), false),
            (Ending::Exited { code: 0 }, OwnResult::Missing, false),
            (Ending::Signalled { signal: 15 }, OwnResult::Missing, true),
            (Ending::StoppedFromOutside, OwnResult::Missing, true),
            (Ending::Cancelled, OwnResult::Missing, false),
            (Ending::TimedOut, OwnResult::Missing, false),
            (
                Ending::CannotRun { why: String::new() },
                OwnResult::Missing,
                false,
            ),
            (Ending::NeverStarted, OwnResult::NotExpected, false),
        ] {
            let record = ExitRecord {
                result,
                ..ExitRecord::without_output(ending, 0)
            };
            assert_eq!(was_asked(&record), expected, "{record:?}");
        }
    }

    #[test]
    fn a_host_that_is_back_too_late_has_not_rebooted_in_time() {
        let run = |kind| PowerRun {
            kind,
            deadline_unix_ms: 1_000,
        };
        for (kind, now_unix_ms, expected) in [
            (PowerKind::Reboot, 1_000, None),
            (PowerKind::Reboot, 1_001, Some(FailureReason::TimedOut)),
            (PowerKind::Shutdown, 1_000, None),
            (PowerKind::Shutdown, 9_000_000, None),
        ] {
            let outcome = returned(run(kind), None, now_unix_ms);
            assert_eq!((outcome.reason, outcome.changed), (expected, true));
        }
    }
}
