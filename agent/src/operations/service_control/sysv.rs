//! System V init scripts, through `service`, and `update-rc.d` or `chkconfig` for what starts with the machine.

use std::path::Path;

use super::service::{AtBoot, Service, Step, Trouble, run, words};
use crate::operations::tools::{ToolOutput, Tools};

/// The tool that arranges which services start with the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registrar {
    UpdateRcD,
    Chkconfig,
}

/// Run levels in which a machine does its work.
const LEVELS: [char; 4] = ['2', '3', '4', '5'];

/// `etc` is where the links of the run levels are.
pub fn find(
    registrar: Registrar,
    etc: &Path,
    name: &str,
    asks_boot: bool,
    tools: &mut dyn Tools,
) -> Result<Service, Trouble> {
    let said = run(&words(&["service", name, "status"]), tools)?;
    let (running, broken) = state(name, &said)?;
    let at_boot = match registrar {
        Registrar::UpdateRcD | Registrar::Chkconfig if !asks_boot => AtBoot::NotAsked,
        Registrar::UpdateRcD => {
            let links = LEVELS
                .iter()
                .filter_map(|level| std::fs::read_dir(etc.join(format!("rc{level}.d"))).ok())
                .flat_map(|links| links.flatten())
                .filter_map(|link| link.file_name().into_string().ok());
            linked(name, links)
        }
        Registrar::Chkconfig => listed(
            name,
            &run(&words(&["chkconfig", "--list", name]), tools)?.stdout,
        ),
    };
    Ok(Service {
        running,
        broken,
        masked: false,
        at_boot,
    })
}

/// The name passes validation, so it is never an option.
pub fn commands(registrar: Registrar, step: Step, name: &str) -> Vec<Vec<String>> {
    match (step, registrar) {
        (Step::Start | Step::Stop | Step::Restart | Step::Reload, _) => {
            vec![words(&["service", name, step.verb()])]
        }
        // The first makes the links if there are none yet, and changes none that are.
        (Step::Enable, Registrar::UpdateRcD) => vec![
            words(&["update-rc.d", name, "defaults"]),
            words(&["update-rc.d", name, "enable"]),
        ],
        (Step::Disable, Registrar::UpdateRcD) => vec![words(&["update-rc.d", name, "disable"])],
        (Step::Enable, Registrar::Chkconfig) => vec![
            words(&["chkconfig", "--add", name]),
            words(&["chkconfig", name, "on"]),
        ],
        (Step::Disable, Registrar::Chkconfig) => vec![words(&["chkconfig", name, "off"])],
    }
}

/// Whether it runs, and whether it died. The exit codes are those of the Linux Standard Base.
fn state(name: &str, said: &ToolOutput) -> Result<(bool, bool), Trouble> {
    let unknown = [&said.stdout, &said.stderr]
        .into_iter()
        .any(|text| text.contains("unrecognized service") || text.contains("could not be found"));
    if unknown {
        return Err(Trouble::NoSuchService(name.to_owned()));
    }
    match said.code {
        Some(0) => Ok((true, false)),
        Some(1 | 2) => Ok((false, true)),
        Some(3) => Ok((false, false)),
        Some(_) | None => Err(Trouble::NoState {
            name: name.to_owned(),
            words: said.last_words().to_owned(),
        }),
    }
}

/// From the names of links: `S20ssh` starts ssh, `K20ssh` ends it.
fn linked(name: &str, mut links: impl Iterator<Item = String>) -> AtBoot {
    let starts = links.any(|link| {
        link.strip_prefix('S')
            .map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()))
            == Some(name)
    });
    if starts {
        AtBoot::Enabled
    } else {
        AtBoot::Disabled
    }
}

/// From a line of `name 0:off 1:off 2:on …`.
fn listed(name: &str, text: &str) -> AtBoot {
    let on = text.lines().any(|line| {
        let mut parts = line.split_whitespace();
        parts.next() == Some(name)
            && parts.any(|part| {
                part.split_once(':')
                    .is_some_and(|(level, state)| level.starts_with(LEVELS) && state == "on")
            })
    });
    if on {
        AtBoot::Enabled
    } else {
        AtBoot::Disabled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::tools::said;

    #[test]
    fn exit_codes_of_status_are_the_standard_ones() {
        for (code, expected) in [
            (Some(0), Some((true, false))),
            (Some(1), Some((false, true))),
            (Some(3), Some((false, false))),
            (Some(4), None),
            (None, None),
        ] {
            assert_eq!(state("x", &said(code, "", "")).ok(), expected, "{code:?}");
        }
        let unknown = state("x", &said(1, "", "x: unrecognized service\n"));
        assert!(matches!(unknown, Err(Trouble::NoSuchService(_))));
    }

    #[test]
    fn a_start_link_of_exactly_this_name_counts() {
        for (links, expected) in [
            (vec!["S01ssh", "S20x"], AtBoot::Enabled),
            (vec!["K01ssh"], AtBoot::Disabled),
            (vec!["S01sshd"], AtBoot::Disabled),
            (vec!["README"], AtBoot::Disabled),
            (vec![], AtBoot::Disabled),
        ] {
            let names = links.iter().map(|link| (*link).to_owned());
            assert_eq!(linked("ssh", names), expected, "{links:?}");
        }
    }

    #[test]
    fn a_listed_level_that_is_on_counts_only_where_machines_work() {
        for (line, expected) in [
            ("ssh 0:off 1:off 2:on 3:on 4:on 5:on 6:off", AtBoot::Enabled),
            (
                "ssh 0:off 1:on 2:off 3:off 4:off 5:off 6:off",
                AtBoot::Disabled,
            ),
            ("sshd 0:off 1:off 2:on", AtBoot::Disabled),
            ("", AtBoot::Disabled),
        ] {
            assert_eq!(listed("ssh", line), expected, "{line}");
        }
    }

    #[test]
    fn each_registrar_has_its_own_words() {
        let lines = |registrar, step| {
            let commands = commands(registrar, step, "ssh");
            let lines: Vec<String> = commands.iter().map(|argv| argv.join(" ")).collect();
            lines
        };
        for registrar in [Registrar::UpdateRcD, Registrar::Chkconfig] {
            assert_eq!(lines(registrar, Step::Reload), ["service ssh reload"]);
        }
        assert_eq!(
            lines(Registrar::UpdateRcD, Step::Enable),
            ["update-rc.d ssh defaults", "update-rc.d ssh enable"]
        );
        assert_eq!(
            lines(Registrar::UpdateRcD, Step::Disable),
            ["update-rc.d ssh disable"]
        );
        assert_eq!(
            lines(Registrar::Chkconfig, Step::Enable),
            ["chkconfig --add ssh", "chkconfig ssh on"]
        );
        assert_eq!(
            lines(Registrar::Chkconfig, Step::Disable),
            ["chkconfig ssh off"]
        );
    }
}
