//! Fedora and its kin: `dnf` (4 and 5) and `yum` (4, which is dnf under its old name) on top of rpm.

use std::cmp::Ordering;

use super::family::{Call, Family, Offers, Pick, States, call};
use super::rpm;
use crate::operations::tools::ToolOutput;

/// As rpm is asked; what dnf 4 ends with a line of its own.
const QUERY_FORMAT: &str = r"%{name}|%{arch}|%{epoch}|%{version}|%{release}|\n";

/// No `--` before names: dnf 5 takes it for an argument it does not know. Names never begin with a dash.
#[derive(Debug)]
pub struct Dnf {
    pub tool: &'static str,
    pub programs: &'static [&'static str],
}

impl Family for Dnf {
    fn name(&self) -> &'static str {
        self.tool
    }

    fn programs(&self) -> &'static [&'static str] {
        self.programs
    }

    fn query(&self, names: &[&str]) -> Call {
        rpm::query(names)
    }

    fn read_states(&self, names: &[&str], said: &ToolOutput) -> Result<States, String> {
        rpm::read_states(names, said)
    }

    fn search(&self, names: &[&str], offline: bool) -> Vec<Call> {
        let mut words = vec![self.tool, "--assumeyes"];
        if offline {
            words.push("--cacheonly");
        }
        words.extend(["repoquery", "--queryformat", QUERY_FORMAT]);
        vec![call(&words, names)]
    }

    fn read_offers(&self, names: &[&str], said: &ToolOutput) -> Result<Offers, String> {
        // Without a cache, `--cacheonly` finds nothing and calls that a success.
        if !said.succeeded() || said.stderr.contains("no cache for") {
            return Err(super::family::no_answer(self.tool, said));
        }
        let lines = rpm::lines(&said.stdout);
        let versions_of = |name: &str| {
            let lines = lines.iter().filter(|line| line.answers(name));
            lines.map(|line| line.version.clone()).collect()
        };
        Ok(names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), rpm::offer(versions_of(name))?)))
            .collect())
    }

    fn refresh(&self) -> Call {
        call(&[self.tool, "--assumeyes", "--refresh", "makecache"], &[])
    }

    fn install(&self, picks: &[Pick<'_>]) -> Call {
        let mut words = call(&[self.tool, "--assumeyes", "install"], &[]);
        words.extend(picks.iter().map(|pick| {
            match (pick.version, rpm::split_architecture(pick.name)) {
                (None, _) => pick.name.to_owned(),
                (Some(version), (name, None)) => format!("{name}-{version}"),
                (Some(version), (name, Some(architecture))) => {
                    format!("{name}-{version}.{architecture}")
                }
            }
        }));
        words
    }

    fn remove(&self, names: &[&str], _purge: bool) -> Call {
        call(&[self.tool, "--assumeyes", "remove"], names)
    }

    fn fits(&self, wanted: &str, version: &str) -> bool {
        rpm::fits(wanted, version)
    }

    fn order(&self, one: &str, other: &str) -> Ordering {
        rpm::order(one, other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::tools::said;

    const DNF: Dnf = Dnf {
        tool: "dnf",
        programs: &[],
    };

    #[test]
    fn dnf_offers_every_version_and_prefers_the_newest() {
        // As dnf 4.14 prints it, with the empty lines that dnf 5 leaves out.
        let text = "Last metadata expiration check: 0:00:01 ago on Sat Nov 21 10:58:08 2026.\nfw-one|noarch|0|1.0|1|\n\nfw-one|noarch|0|1.10|1|\n\nfw-one|noarch|0|1.9|1|\n\n";
        let offers = DNF
            .read_offers(&["fw-one", "nope"], &said(0, text, ""))
            .unwrap();
        assert_eq!(offers["fw-one"].preferred, "1.10-1");
        assert_eq!(offers["fw-one"].versions, ["1.10-1", "1.9-1", "1.0-1"]);
        assert!(!offers.contains_key("nope"));
    }

    #[test]
    fn a_dnf_without_cache_cannot_tell() {
        let stderr = "Error: Cache-only enabled but no cache for 'fw'\nIgnoring repositories: fw\n";
        assert!(DNF.read_offers(&["fw-one"], &said(0, "", stderr)).is_err());
    }

    #[test]
    fn a_dnf_version_is_part_of_the_name() {
        let pick = |name, version| Pick { name, version };
        let words = DNF.install(&[
            pick("one", None),
            pick("two", Some("1:2.0-3")),
            pick("glibc.i686", Some("2.36")),
        ]);
        assert_eq!(
            words,
            [
                "dnf",
                "--assumeyes",
                "install",
                "one",
                "two-1:2.0-3",
                "glibc-2.36.i686"
            ]
        );
    }
}
