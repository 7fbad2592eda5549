//! Debian and its kin: `apt-get` and `apt-cache` on top of `dpkg`. A version is asked for exactly, as `1.2-3`.

use std::cmp::Ordering;

use super::family::{Call, Family, Offer, Offers, Pick, State, States, call, no_answer};
use super::versions;
use crate::operations::tools::ToolOutput;

/// What dpkg-query prints of each package, tabs between: name, architecture, Multi-Arch field, name with the
/// architecture where dpkg needs it to tell packages apart, status, version.
const QUERY_FORMAT: &str = r"--showformat=${Package}\t${Architecture}\t${Multi-Arch}\t${binary:Package}\t${db:Status-Abbrev}\t${Version}\n";
/// What asks nothing and leaves running services alone: questions get their default answer, changed configuration
/// files are kept, and needrestart only lists what it would restart (restarting is `service_control`'s work, and this
/// agent is itself a service).
const QUIET: [&str; 6] = [
    "env",
    "DEBIAN_FRONTEND=noninteractive",
    "NEEDRESTART_MODE=l",
    "UCF_FORCE_CONFFOLD=1",
    "APT_LISTCHANGES_FRONTEND=none",
    "APT_LISTBUGS_FRONTEND=none",
];
/// Another apt (unattended upgrades, most often) is waited for for five minutes: longer than such a run usually takes,
/// much shorter than an operation may take by default.
const GET: [&str; 11] = [
    "apt-get",
    "--yes",
    "--quiet",
    "-o",
    "Dpkg::Use-Pty=0",
    "-o",
    "DPkg::Lock::Timeout=300",
    "-o",
    "Dpkg::Options::=--force-confdef",
    "-o",
    "Dpkg::Options::=--force-confold",
];

#[derive(Debug)]
pub struct Apt;

impl Family for Apt {
    fn name(&self) -> &'static str {
        "apt"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["apt-get", "apt-cache", "dpkg-query"]
    }

    fn query(&self, names: &[&str]) -> Call {
        call(&["dpkg-query", "--show", QUERY_FORMAT, "--"], names)
    }

    fn read_states(&self, names: &[&str], said: &ToolOutput) -> Result<States, String> {
        // 1: at least one of the names is not in the database.
        if !matches!(said.code, Some(0 | 1)) {
            return Err(no_answer("dpkg-query", said));
        }
        let lines: Vec<Line<'_>> = said.stdout.lines().filter_map(line).collect();
        let state_of = |name: &str| {
            lines
                .iter()
                .filter(|line| line.answers(name))
                .map(Line::state)
                .max_by_key(rank)
                .unwrap_or(State::Absent)
        };
        Ok(names
            .iter()
            .map(|name| ((*name).to_owned(), state_of(name)))
            .collect())
    }

    fn search(&self, names: &[&str], _offline: bool) -> Vec<Call> {
        vec![call(&["apt-cache", "policy", "--"], names)]
    }

    fn read_offers(&self, names: &[&str], said: &ToolOutput) -> Result<Offers, String> {
        if !said.succeeded() {
            return Err(no_answer("apt-cache", said));
        }
        let known = policies(&said.stdout);
        // apt leaves out this machine's own architecture where it was asked for.
        let find = |name: &str| {
            let plain = name.split_once(':').map_or(name, |(plain, _)| plain);
            known
                .iter()
                .find(|(found, _)| found == name)
                .or_else(|| known.iter().find(|(found, _)| found == plain))
        };
        Ok(names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), find(name)?.1.clone())))
            .collect())
    }

    fn refresh(&self) -> Call {
        // Without the mode, apt-get calls it a success when sources could not be reached.
        let words = [
            &QUIET[..],
            &GET[..],
            &["-o", "APT::Update::Error-Mode=any", "update"],
        ]
        .concat();
        call(&words, &[])
    }

    fn install(&self, picks: &[Pick<'_>]) -> Call {
        let mut words = [&QUIET[..], &GET[..]].concat();
        // Only a version that was asked for may be older than the installed one.
        if picks.iter().any(|pick| pick.version.is_some()) {
            words.push("--allow-downgrades");
        }
        words.extend(["install", "--"]);
        let mut words = call(&words, &[]);
        words.extend(picks.iter().map(|pick| match pick.version {
            Some(version) => format!("{}={version}", pick.name),
            None => pick.name.to_owned(),
        }));
        words
    }

    fn remove(&self, names: &[&str], purge: bool) -> Call {
        let verb = if purge { "purge" } else { "remove" };
        call(&[&QUIET[..], &GET[..], &[verb, "--"]].concat(), names)
    }

    fn order(&self, one: &str, other: &str) -> Ordering {
        versions::debian(one, other)
    }
}

struct Line<'a> {
    package: &'a str,
    architecture: &'a str,
    multi_arch: &'a str,
    shown: &'a str,
    status: &'a str,
    version: &'a str,
}

impl Line<'_> {
    /// `name` means this machine's own architecture; where a package of several is shared (`same`), any of them.
    fn answers(&self, name: &str) -> bool {
        match name.split_once(':') {
            Some((package, architecture)) => {
                self.package == package && self.architecture == architecture
            }
            None => {
                self.package == name && (self.shown == self.package || self.multi_arch == "same")
            }
        }
    }

    fn state(&self) -> State {
        let version = self.version.to_owned();
        let mut letters = self.status.chars().skip(1);
        let broken = |what| State::Broken {
            version: self.version.to_owned(),
            what,
        };
        match (letters.next(), letters.next()) {
            (_, Some('R')) => broken("must be reinstalled"),
            (Some('i' | 't'), _) => State::Installed {
                versions: vec![version],
            },
            (Some('c'), _) => State::Remains { version },
            (Some('H'), _) => broken("half installed"),
            (Some('U'), _) => broken("unpacked, not configured"),
            (Some('F'), _) => broken("half configured"),
            (Some('W'), _) => broken("waits for triggers"),
            (Some(_) | None, _) => State::Absent,
        }
    }
}

fn line(text: &str) -> Option<Line<'_>> {
    let fields: Vec<&str> = text.split('\t').collect();
    let &[package, architecture, multi_arch, shown, status, version] = fields.as_slice() else {
        return None;
    };
    Some(Line {
        package,
        architecture,
        multi_arch,
        shown,
        status,
        version,
    })
}

fn rank(state: &State) -> u8 {
    match state {
        State::Absent => 0,
        State::Remains { .. } => 1,
        State::Broken { .. } => 2,
        State::Installed { .. } => 3,
    }
}

/// What `apt-cache policy` prints. A package without a candidate is none: a virtual one, or only a remembered name.
fn policies(text: &str) -> Vec<(String, Offer)> {
    let mut found: Vec<(String, Offer)> = Vec::new();
    for line in text.lines() {
        if !line.starts_with(' ') {
            if let Some(name) = line.strip_suffix(':') {
                found.push((name.to_owned(), Offer::default()));
            }
            continue;
        }
        let Some((_, offer)) = found.last_mut() else {
            continue;
        };
        if let Some(candidate) = line.strip_prefix("  Candidate: ") {
            if candidate != "(none)" {
                candidate.clone_into(&mut offer.preferred);
            }
        } else if let Some(entry) = line
            .strip_prefix(" *** ")
            .or_else(|| line.strip_prefix("     ").filter(|e| !e.starts_with(' ')))
            && let Some(version) = entry.split_whitespace().next()
        {
            offer.versions.push(version.to_owned());
        }
    }
    found.retain(|(_, offer)| !offer.preferred.is_empty());
    found
}

#[cfg(test)]
mod tests;
