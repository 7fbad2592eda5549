//! Arch: `pacman`. Its repositories hold one version of each package, and it waits for no lock: a second pacman fails.

use std::cmp::Ordering;

use super::family::{Call, Family, Offer, Offers, Pick, State, States, call, no_answer};
use super::versions;
use crate::operations::tools::ToolOutput;

#[derive(Debug)]
pub struct Pacman;

impl Family for Pacman {
    fn name(&self) -> &'static str {
        "pacman"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["pacman"]
    }

    fn query(&self, names: &[&str]) -> Call {
        let mut plain: Vec<&str> = names.iter().map(|name| package_of(name)).collect();
        plain.dedup();
        call(&["pacman", "--query", "--"], &plain)
    }

    fn read_states(&self, names: &[&str], said: &ToolOutput) -> Result<States, String> {
        let state_of = |name: &str| {
            let plain = package_of(name);
            let mut lines = said.stdout.lines().filter_map(|line| line.split_once(' '));
            // The exit status does not tell a missing package from a database that cannot be read.
            let missing = format!("error: package '{plain}' was not found");
            if let Some((_, version)) = lines.find(|(found, _)| *found == plain) {
                let versions = vec![version.trim().to_owned()];
                Ok(State::Installed { versions })
            } else if said.stderr.lines().any(|line| line == missing) || said.succeeded() {
                // A success without it: another package provides the name.
                Ok(State::Absent)
            } else {
                Err(no_answer("pacman", said))
            }
        };
        names
            .iter()
            .map(|name| Ok(((*name).to_owned(), state_of(name)?)))
            .collect()
    }

    fn search(&self, names: &[&str], _offline: bool) -> Vec<Call> {
        vec![call(&["pacman", "--sync", "--info", "--"], names)]
    }

    fn read_offers(&self, names: &[&str], said: &ToolOutput) -> Result<Offers, String> {
        let lacks_indexes = said.stderr.contains("database file for");
        let explained = said
            .stderr
            .lines()
            .any(|line| line.contains("was not found"));
        if lacks_indexes || (!said.succeeded() && !explained) {
            return Err(no_answer("pacman", said));
        }
        let found = descriptions(&said.stdout);
        let offer_of = |name: &str| {
            let fits = |found: &&[&str; 3]| {
                let [repository, package, _] = found;
                *package == name || format!("{repository}/{package}") == name
            };
            // Repositories come in the order of the configuration; the first has precedence.
            found.iter().find(fits).map(|[_, _, version]| Offer {
                preferred: (*version).to_owned(),
                versions: vec![(*version).to_owned()],
            })
        };
        Ok(names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), offer_of(name)?)))
            .collect())
    }

    fn refresh(&self) -> Call {
        call(&["pacman", "--sync", "--refresh", "--noprogressbar"], &[])
    }

    fn install(&self, picks: &[Pick<'_>]) -> Call {
        let names: Vec<&str> = picks.iter().map(|pick| pick.name).collect();
        let words = [
            "pacman",
            "--sync",
            "--needed",
            "--noconfirm",
            "--noprogressbar",
            "--",
        ];
        call(&words, &names)
    }

    fn remove(&self, names: &[&str], purge: bool) -> Call {
        let mut words = vec!["pacman", "--remove", "--noconfirm", "--noprogressbar"];
        if purge {
            // Without it, changed configuration is kept as .pacsave.
            words.push("--nosave");
        }
        words.push("--");
        let names: Vec<&str> = names.iter().map(|name| package_of(name)).collect();
        call(&words, &names)
    }

    fn fits(&self, wanted: &str, version: &str) -> bool {
        super::rpm::fits(wanted, version)
    }

    fn order(&self, one: &str, other: &str) -> Ordering {
        versions::rpm(one, other)
    }
}

/// `core/bash` is bash of a certain repository.
fn package_of(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, package)| package)
}

/// Repository, name and version of each block of `--info`.
fn descriptions(text: &str) -> Vec<[&str; 3]> {
    text.split("\n\n")
        .filter_map(|block| {
            let field = |key: &str| {
                block.lines().find_map(|line| {
                    let (found, value) = line.split_once(" : ")?;
                    (found.trim() == key).then_some(value.trim())
                })
            };
            Some([field("Repository")?, field("Name")?, field("Version")?])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::tools::said;

    // What pacman 6.0.2 prints, shortened after the fields that are read.
    const INFO: &str = "Repository      : fw\nName            : fw-one\nVersion         : 1.1-1\nDescription     : None\n\nRepository      : fw\nName            : fw-two\nVersion         : 2.0-1\nDescription     : None\n\n";

    #[test]
    fn pacman_is_read_for_every_name_or_not_at_all() {
        let mixed = said(1, "fw-one 1.1-1\n", "error: package 'nope' was not found\n");
        let states = Pacman.read_states(&["fw/fw-one", "nope"], &mixed).unwrap();
        assert_eq!(states["fw/fw-one"].newest(), Some("1.1-1"));
        assert_eq!(states["nope"], State::Absent);
        let broken = said(255, "", "error: failed to initialize alpm library\n");
        assert!(Pacman.read_states(&["fw-one"], &broken).is_err());
    }

    #[test]
    fn pacman_offers_one_version_by_either_name() {
        let found = said(1, INFO, "error: package 'nope' was not found\n");
        let offers = Pacman
            .read_offers(&["fw-one", "nope", "fw/fw-two"], &found)
            .unwrap();
        assert_eq!(offers["fw-one"].versions, ["1.1-1"]);
        assert_eq!(offers["fw/fw-two"].preferred, "2.0-1");
        assert!(!offers.contains_key("nope"));
        let no_index = said(
            1,
            "",
            "warning: database file for 'fw' does not exist (use '-Sy' to download)\nerror: package 'fw-one' was not found\n",
        );
        assert!(Pacman.read_offers(&["fw-one"], &no_index).is_err());
    }
}
