//! FreeBSD: `pkg`. Written from its documentation; never yet run against a real one (docs/package-managers.md).

use std::cmp::Ordering;

use super::family::{Call, Family, Offer, Offers, Pick, State, States, call, no_answer};
use super::versions;
use crate::operations::tools::ToolOutput;

/// Name, origin, version.
const FORMAT: &str = "%n|%o|%v";
const PKG: [&str; 3] = ["env", "ASSUME_ALWAYS_YES=yes", "pkg"];

#[derive(Debug)]
pub struct Pkg;

impl Family for Pkg {
    fn name(&self) -> &'static str {
        "pkg"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["pkg"]
    }

    fn query(&self, names: &[&str]) -> Call {
        call(&[&PKG[..], &["query", FORMAT]].concat(), names)
    }

    fn read_states(&self, names: &[&str], said: &ToolOutput) -> Result<States, String> {
        let found = found("pkg query", said)?;
        let state_of = |name: &str| {
            let mut fitting = found.iter().filter(|line| line.answers(name));
            fitting
                .next()
                .map_or(State::Absent, |line| State::Installed {
                    versions: vec![line.version.to_owned()],
                })
        };
        Ok(names
            .iter()
            .map(|name| ((*name).to_owned(), state_of(name)))
            .collect())
    }

    fn search(&self, names: &[&str], offline: bool) -> Vec<Call> {
        let mut words = [&PKG[..], &["rquery"]].concat();
        if offline {
            words.push("--no-repo-update");
        }
        words.push(FORMAT);
        vec![call(&words, names)]
    }

    fn read_offers(&self, names: &[&str], said: &ToolOutput) -> Result<Offers, String> {
        let found = found("pkg rquery", said)?;
        let offer_of = |name: &str| {
            let fitting = found.iter().filter(|line| line.answers(name));
            let mut versions: Vec<String> = fitting.map(|line| line.version.to_owned()).collect();
            versions.sort_by(|one, other| versions::freebsd(other, one));
            versions.dedup();
            Some(Offer {
                preferred: versions.first()?.clone(),
                versions,
            })
        };
        Ok(names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), offer_of(name)?)))
            .collect())
    }

    fn refresh(&self) -> Call {
        call(&[&PKG[..], &["update"]].concat(), &[])
    }

    fn install(&self, picks: &[Pick<'_>]) -> Call {
        let mut words = call(&[&PKG[..], &["install", "--yes", "--"]].concat(), &[]);
        words.extend(picks.iter().map(|pick| match pick.version {
            Some(version) => format!("{}-{version}", pick.name),
            None => pick.name.to_owned(),
        }));
        words
    }

    fn remove(&self, names: &[&str], _purge: bool) -> Call {
        call(&[&PKG[..], &["delete", "--yes", "--"]].concat(), names)
    }

    fn order(&self, one: &str, other: &str) -> Ordering {
        versions::freebsd(one, other)
    }
}

struct Line<'a> {
    name: &'a str,
    origin: &'a str,
    version: &'a str,
}

impl Line<'_> {
    fn answers(&self, name: &str) -> bool {
        self.name == name || self.origin == name
    }
}

fn found<'a>(tool: &str, said: &'a ToolOutput) -> Result<Vec<Line<'a>>, String> {
    // It fails without a word if nothing by that name is there.
    if said.code.is_none() || (!said.succeeded() && !said.stderr.trim().is_empty()) {
        return Err(no_answer(tool, said));
    }
    let line = |text: &'a str| {
        let (name, rest) = text.split_once('|')?;
        let (origin, version) = rest.split_once('|')?;
        Some(Line {
            name,
            origin,
            version,
        })
    };
    Ok(said.stdout.lines().filter_map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::tools::said;

    #[test]
    fn pkg_is_read_by_name_or_origin() {
        let one = said(0, "nginx|www/nginx|1.26.2_1,3\n", "");
        let states = Pkg.read_states(&["www/nginx", "nope"], &one).unwrap();
        assert_eq!(states["www/nginx"].newest(), Some("1.26.2_1,3"));
        assert_eq!(states["nope"], State::Absent);
        let offers = Pkg.read_offers(&["nginx", "nope"], &one).unwrap();
        assert_eq!(offers["nginx"].preferred, "1.26.2_1,3");
        assert!(!offers.contains_key("nope"));
        assert!(Pkg.read_states(&["a"], &said(1, "", "")).is_ok());
        assert!(
            Pkg.read_states(&["a"], &said(74, "", "pkg: cannot open"))
                .is_err()
        );
    }
}
