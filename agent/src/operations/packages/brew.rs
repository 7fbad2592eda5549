//! Homebrew: `brew`. It refuses root and has one version of each formula. Written from its documentation; never yet run
//! against a real one (docs/package-managers.md).

use std::cmp::Ordering;

use serde_json::Value;

use super::family::{Call, Family, Offer, Offers, Pick, Rights, State, States, call, no_answer};
use super::versions;
use crate::operations::tools::ToolOutput;

/// Asks nothing, and updates its index only when told to.
const BREW: [&str; 5] = [
    "env",
    "NONINTERACTIVE=1",
    "HOMEBREW_NO_AUTO_UPDATE=1",
    "HOMEBREW_NO_ENV_HINTS=1",
    "brew",
];

#[derive(Debug)]
pub struct Brew;

impl Family for Brew {
    fn name(&self) -> &'static str {
        "brew"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["brew"]
    }

    fn rights(&self) -> Rights {
        Rights::Owner
    }

    fn query(&self, names: &[&str]) -> Call {
        call(&[&BREW[..], &["list", "--versions", "--"]].concat(), names)
    }

    fn read_states(&self, names: &[&str], said: &ToolOutput) -> Result<States, String> {
        // The exit status only says that a name is missing.
        if said.code.is_none() || said.stderr.contains("Error:") {
            return Err(no_answer("brew", said));
        }
        let state_of = |name: &str| {
            let mut lines = said.stdout.lines().filter_map(|line| line.split_once(' '));
            match lines.find(|(found, _)| *found == formula_of(name)) {
                None => State::Absent,
                Some((_, versions)) => State::Installed {
                    versions: versions.split_whitespace().map(str::to_owned).collect(),
                },
            }
        };
        Ok(names
            .iter()
            .map(|name| ((*name).to_owned(), state_of(name)))
            .collect())
    }

    /// One call for each: an unknown name hides the others.
    fn search(&self, names: &[&str], _offline: bool) -> Vec<Call> {
        let words = [&BREW[..], &["info", "--json=v2", "--"]].concat();
        names.iter().map(|name| call(&words, &[name])).collect()
    }

    fn read_offers(&self, names: &[&str], said: &ToolOutput) -> Result<Offers, String> {
        if !said.succeeded() && said.stderr.contains("No available") {
            return Ok(Offers::new());
        }
        let found: Value = serde_json::from_str(&said.stdout)
            .map_err(|_| no_answer("brew", said))
            .and_then(|value| {
                if said.succeeded() {
                    Ok(value)
                } else {
                    Err(no_answer("brew", said))
                }
            })?;
        // Reading a JSON value by key never panics: what is not there is null.
        let mut known: Vec<(&Value, &Value)> = Vec::new();
        for formula in list(&found, "formulae") {
            let version = formula.pointer("/versions/stable").unwrap_or(&Value::Null);
            known.extend(["name", "full_name"].map(|key| (&formula[key], version)));
        }
        for cask in list(&found, "casks") {
            known.extend(["token", "full_token"].map(|key| (&cask[key], &cask["version"])));
        }
        let offer_of = |name: &str| {
            let (_, version) = known
                .iter()
                .find(|(found, _)| found.as_str() == Some(name))?;
            let version = version.as_str()?.to_owned();
            Some(Offer {
                preferred: version.clone(),
                versions: vec![version],
            })
        };
        Ok(names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), offer_of(name)?)))
            .collect())
    }

    fn refresh(&self) -> Call {
        call(&[&BREW[..], &["update"]].concat(), &[])
    }

    fn install(&self, picks: &[Pick<'_>]) -> Call {
        let names: Vec<&str> = picks.iter().map(|pick| pick.name).collect();
        call(&[&BREW[..], &["install", "--"]].concat(), &names)
    }

    fn remove(&self, names: &[&str], purge: bool) -> Call {
        let mut words = [&BREW[..], &["uninstall"]].concat();
        if purge {
            words.push("--zap");
        }
        words.push("--");
        call(&words, names)
    }

    fn order(&self, one: &str, other: &str) -> Ordering {
        versions::rpm(one, other)
    }
}

/// `user/tap/formula` is listed as its last part.
fn formula_of(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, formula)| formula)
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::tools::said;

    #[test]
    fn brew_lists_versions_beside_each_other() {
        let states = Brew
            .read_states(
                &["python", "acme/tap/tool", "nope"],
                &said(1, "python 3.11.1 3.12.0\ntool 1.0\n", ""),
            )
            .unwrap();
        assert_eq!(states["python"].newest(), Some("3.12.0"));
        assert_eq!(states["acme/tap/tool"].newest(), Some("1.0"));
        assert_eq!(states["nope"], State::Absent);
    }

    #[test]
    fn brew_offers_the_stable_version() {
        let text = r#"{"formulae":[{"name":"jq","full_name":"jq","versions":{"stable":"1.7.1"}}],"casks":[]}"#;
        let offers = Brew
            .read_offers(&["jq", "nope"], &said(0, text, ""))
            .unwrap();
        assert_eq!(offers["jq"].versions, ["1.7.1"]);
        assert!(!offers.contains_key("nope"));
        let unknown = said(1, "", "Error: No available formula with the name \"nope\".");
        assert!(Brew.read_offers(&["nope"], &unknown).unwrap().is_empty());
        assert!(
            Brew.read_offers(&["jq"], &said(1, "", "Error: no git"))
                .is_err()
        );
    }
}
