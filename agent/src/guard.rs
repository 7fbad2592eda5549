//! Where this host lets its server put files: the paths of its policy, and the agent's own files, which nobody's policy has
//! to name. What is compared is what is opened (see `places`), so it touches the disk.

mod own;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::places::Place;
use crate::places::mounts::Mounts;
use crate::places::rule::{Rule, Standing};
use crate::policy::Refused;

pub use own::{Own, OwnKind};

/// What a guard is made of: part of the order that a plan's own process gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PathPolicy {
    pub deny: Vec<String>,
    /// Empty: everywhere.
    pub allow: Vec<String>,
    pub own: Vec<Own>,
}

/// The rules as the host is now.
#[derive(Debug)]
pub struct Guard {
    deny: Vec<(String, Rule)>,
    allow: Vec<Rule>,
    own: Vec<(OwnKind, Rule)>,
    mounts: Mounts,
}

impl PathPolicy {
    /// Of this agent's settings.
    pub fn of(config: &Config) -> Self {
        Self {
            deny: config.policy.deny_paths.clone(),
            allow: config.policy.allow_paths.clone(),
            own: own::of(config),
        }
    }

    /// Looks at all it names. Blocks on the disk.
    pub fn guard(&self) -> Guard {
        let mounts = Mounts::read();
        let rule = |path: &String| Rule::of(Path::new(path), &mounts);
        let deny = self.deny.iter().map(|path| (path.clone(), rule(path)));
        let (deny, allow) = (deny.collect(), self.allow.iter().map(rule).collect());
        let own = self.own.iter().map(|own| (own.kind, own.rule(&mounts)));
        Guard {
            deny,
            allow,
            own: own.collect(),
            mounts,
        }
    }
}

impl Guard {
    /// Whether a file of this name may be put into the place. `text` is the path that was asked for.
    pub fn check(&self, place: &Place, name: &OsStr, text: &str) -> Result<(), Refused> {
        let text = PathBuf::from(text);
        let shown = text.display();
        let standing = Standing::of(place, name, &text, &self.mounts).map_err(|error| {
            Refused(format!(
                "where {shown} leads cannot be told ({error}), so this host's policy denies it"
            ))
        })?;
        if let Some((kind, _)) = self.own.iter().find(|(_, rule)| rule.holds(&standing)) {
            let what = kind.words();
            return Err(Refused(format!(
                "{shown} is the agent's own ({what}), which no server may change"
            )));
        }
        if let Some((denied, _)) = self.deny.iter().find(|(_, rule)| rule.holds(&standing)) {
            return Err(Refused(format!(
                "this host's policy denies {denied}, and {shown} lies there"
            )));
        }
        if !self.allow.is_empty() && !self.allow.iter().any(|rule| rule.holds(&standing)) {
            return Err(Refused(format!(
                "this host's policy does not allow {shown}"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
