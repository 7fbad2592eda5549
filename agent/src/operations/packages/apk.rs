//! Alpine: `apk` (2). Written from its documentation; never yet run against a real one (docs/package-managers.md).

use std::cmp::Ordering;

use super::family::{Call, Family, Offer, Offers, Pick, State, States, call, no_answer};
use super::versions;
use crate::operations::tools::ToolOutput;

/// Another apk is waited for for five minutes, as apt's lock is.
const WAIT: [&str; 2] = ["--wait", "300"];

#[derive(Debug)]
pub struct Apk;

impl Family for Apk {
    fn name(&self) -> &'static str {
        "apk"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["apk"]
    }

    fn query(&self, names: &[&str]) -> Call {
        call(&["apk", "info", "--installed", "--verbose", "--"], names)
    }

    fn read_states(&self, names: &[&str], said: &ToolOutput) -> Result<States, String> {
        // The exit status only says that a name is missing.
        if said.code.is_none() || said.stderr.contains("ERROR:") {
            return Err(no_answer("apk", said));
        }
        let state_of = |name: &str| {
            let mut versions = said.stdout.lines().filter_map(|line| {
                let version = line.trim().strip_prefix(name)?.strip_prefix('-')?;
                version
                    .starts_with(|first: char| first.is_ascii_digit())
                    .then(|| version.to_owned())
            });
            versions
                .next()
                .map_or(State::Absent, |version| State::Installed {
                    versions: vec![version],
                })
        };
        Ok(names
            .iter()
            .map(|name| ((*name).to_owned(), state_of(name)))
            .collect())
    }

    fn search(&self, names: &[&str], offline: bool) -> Vec<Call> {
        let mut words = vec!["apk"];
        if offline {
            words.push("--no-network");
        }
        words.extend(["policy", "--"]);
        vec![call(&words, names)]
    }

    fn read_offers(&self, names: &[&str], said: &ToolOutput) -> Result<Offers, String> {
        if !said.succeeded() {
            return Err(no_answer("apk", said));
        }
        let mut offers = Offers::new();
        for (name, mut versions) in policies(&said.stdout) {
            versions.sort_by(|one, other| versions::alpine(other, one));
            if let (true, Some(newest)) = (names.contains(&name), versions.first()) {
                let preferred = newest.clone();
                offers.insert(
                    name.to_owned(),
                    Offer {
                        preferred,
                        versions,
                    },
                );
            }
        }
        Ok(offers)
    }

    fn refresh(&self) -> Call {
        call(&[&["apk"], &WAIT[..], &["update"]].concat(), &[])
    }

    fn install(&self, picks: &[Pick<'_>]) -> Call {
        let mut words = call(
            &[&["apk"], &WAIT[..], &["add", "--no-progress", "--"]].concat(),
            &[],
        );
        words.extend(picks.iter().map(|pick| match pick.version {
            Some(version) => format!("{}={version}", pick.name),
            None => pick.name.to_owned(),
        }));
        words
    }

    fn remove(&self, names: &[&str], purge: bool) -> Call {
        let mut words = [&["apk"], &WAIT[..], &["del", "--no-progress"]].concat();
        if purge {
            words.push("--purge");
        }
        words.push("--");
        call(&words, names)
    }

    fn order(&self, one: &str, other: &str) -> Ordering {
        versions::alpine(one, other)
    }
}

/// `name policy:`, then each version with a colon and, further in, where it comes from.
fn policies(text: &str) -> Vec<(&str, Vec<String>)> {
    let mut found: Vec<(&str, Vec<String>)> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_suffix(" policy:") {
            found.push((name, Vec::new()));
        } else if let Some(version) = line
            .strip_prefix("  ")
            .and_then(|rest| rest.strip_suffix(':'))
            && !version.starts_with(' ')
            && let Some((_, versions)) = found.last_mut()
        {
            versions.push(version.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::tools::said;

    #[test]
    fn apk_is_read_by_the_name_asked_for() {
        let text = "musl-1.2.3-r4\nmusl-utils-1.2.3-r4\n";
        let states = Apk
            .read_states(&["musl", "musl-utils", "nope"], &said(1, text, ""))
            .unwrap();
        assert_eq!(states["musl"].newest(), Some("1.2.3-r4"));
        assert_eq!(states["musl-utils"].newest(), Some("1.2.3-r4"));
        assert_eq!(states["nope"], State::Absent);
    }

    #[test]
    fn apk_offers_what_its_policy_lists() {
        let text = "vim policy:\n  8.2.4836-r0:\n    https://dl-cdn.alpinelinux.org/alpine/v3.15/main\n  9.0.0050-r0:\n    lib/apk/db/installed\n    https://dl-cdn.alpinelinux.org/alpine/v3.16/main\n";
        let offers = Apk
            .read_offers(&["vim", "nope"], &said(0, text, ""))
            .unwrap();
        assert_eq!(offers["vim"].preferred, "9.0.0050-r0");
        assert_eq!(offers["vim"].versions.len(), 2);
        assert!(!offers.contains_key("nope"));
    }
}
