//! SUSE: `zypper` on top of rpm.

use std::cmp::Ordering;

use super::family::{Call, Family, Offers, Pick, States, call, no_answer};
use super::rpm;
use crate::operations::tools::ToolOutput;

/// zypper's exit status for "nothing by that name".
const NOT_FOUND: i32 = 104;
/// Another zypper or YaST is waited for for five minutes, as apt's lock is.
const ZYPPER: [&str; 4] = [
    "env",
    "ZYPP_LOCK_TIMEOUT=300",
    "zypper",
    "--non-interactive",
];

#[derive(Debug)]
pub struct Zypper;

impl Family for Zypper {
    fn name(&self) -> &'static str {
        "zypper"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["zypper", "rpm"]
    }

    fn query(&self, names: &[&str]) -> Call {
        rpm::query(names)
    }

    fn read_states(&self, names: &[&str], said: &ToolOutput) -> Result<States, String> {
        rpm::read_states(names, said)
    }

    fn search(&self, names: &[&str], offline: bool) -> Vec<Call> {
        let mut words = ZYPPER.to_vec();
        words.extend(["--quiet", "--xmlout"]);
        if offline {
            words.push("--no-refresh");
        }
        words.extend([
            "search",
            "--details",
            "--match-exact",
            "--type",
            "package",
            "--",
        ]);
        // zypper searches by plain names only.
        let mut plain: Vec<&str> = names
            .iter()
            .map(|name| rpm::split_architecture(name).0)
            .collect();
        plain.dedup();
        vec![call(&words, &plain)]
    }

    fn read_offers(&self, names: &[&str], said: &ToolOutput) -> Result<Offers, String> {
        if !matches!(said.code, Some(0 | NOT_FOUND)) {
            return Err(no_answer("zypper", said));
        }
        let found: Vec<(&str, &str, &str)> = said.stdout.lines().filter_map(solvable).collect();
        let versions_of = |name: &str| {
            let (plain, architecture) = rpm::split_architecture(name);
            let fits = |found: &&(&str, &str, &str)| {
                found.0 == name
                    || (found.0 == plain && architecture.is_some_and(|wanted| wanted == found.2))
            };
            let found = found.iter().filter(fits);
            found.map(|(_, edition, _)| (*edition).to_owned()).collect()
        };
        Ok(names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), rpm::offer(versions_of(name))?)))
            .collect())
    }

    fn refresh(&self) -> Call {
        call(&[&ZYPPER[..], &["refresh"]].concat(), &[])
    }

    fn install(&self, picks: &[Pick<'_>]) -> Call {
        // Licences are not agreed to in anybody's name: zypper says which one it is.
        let mut words = [&ZYPPER[..], &["install", "--no-confirm"]].concat();
        // Only a version that was asked for may be older than the installed one.
        if picks.iter().any(|pick| pick.version.is_some()) {
            words.push("--oldpackage");
        }
        words.push("--");
        let mut words = call(&words, &[]);
        words.extend(picks.iter().map(|pick| match pick.version {
            Some(version) => format!("{}={version}", pick.name),
            None => pick.name.to_owned(),
        }));
        words
    }

    fn remove(&self, names: &[&str], _purge: bool) -> Call {
        let words = [&ZYPPER[..], &["remove", "--no-confirm", "--"]].concat();
        call(&words, names)
    }

    fn fits(&self, wanted: &str, version: &str) -> bool {
        rpm::fits(wanted, version)
    }

    fn order(&self, one: &str, other: &str) -> Ordering {
        rpm::order(one, other)
    }
}

/// Name, edition and architecture of a `<solvable …/>`. zypper writes each on a line of its own.
fn solvable(line: &str) -> Option<(&str, &str, &str)> {
    let attributes = line.trim().strip_prefix("<solvable ")?;
    let value = |key: &str| {
        attributes
            .split_once(&format!("{key}=\""))?
            .1
            .split_once('"')
            .map(|(value, _)| value)
    };
    Some((value(" name")?, value(" edition")?, value(" arch")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::tools::said;

    // As zypper 1.14.42 prints it.
    const FOUND: &str = r#"<?xml version='1.0'?>
<stream>

<search-result version="0.0">
<solvable-list>
<solvable status="other-version" name="fw-one" kind="package" edition="1.1-1" arch="noarch" repository="fw"/>
<solvable status="installed" name="fw-one" kind="package" edition="1.0-1" arch="noarch" repository="fw"/>
</solvable-list>
</search-result>
</stream>
"#;
    const NOTHING: &str = r#"<?xml version='1.0'?>
<stream>
<message type="info">No matching items found.</message>
</stream>
"#;

    #[test]
    fn zypper_offers_what_it_found() {
        for (stdout, code, expected) in [
            (FOUND, 0, Some(vec!["1.1-1", "1.0-1"])),
            (NOTHING, NOT_FOUND, None),
        ] {
            let found = said(code, stdout, "");
            let offers = Zypper.read_offers(&["fw-one", "nope"], &found).unwrap();
            let versions = offers.get("fw-one").map(|offer| offer.versions.clone());
            assert_eq!(
                versions,
                expected.map(|list| list.iter().map(|v| (*v).to_owned()).collect())
            );
            assert!(!offers.contains_key("nope"));
        }
        let failed = said(7, "", "");
        assert!(Zypper.read_offers(&["fw-one"], &failed).is_err());
    }
}
