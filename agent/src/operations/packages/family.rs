//! What a family of package managers has to say for itself: the words of its calls and how its answers are read. Pure:
//! nothing here runs anything.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::operations::tools::ToolOutput;

/// The words of one call, the tool first. Never a shell's.
pub type Call = Vec<String>;
/// By name as asked for. Every name that was asked for is there.
pub type States = BTreeMap<String, State>;
/// By name as asked for. A name that is not there is not known to the indexes.
pub type Offers = BTreeMap<String, Offer>;

/// What a manager's database says of one package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Absent,
    /// Removed; its configuration is still there.
    Remains {
        version: String,
    },
    /// Neither installed nor removed: what a broken-off installation leaves.
    Broken {
        version: String,
        what: &'static str,
    },
    /// In one version, or several beside each other (kernels), oldest first.
    Installed {
        versions: Vec<String>,
    },
}

impl State {
    /// As shown to a person: `None` for what is not installed.
    pub fn version(&self) -> Option<String> {
        match self {
            Self::Absent | Self::Remains { .. } => None,
            Self::Broken { version, what } => Some(format!("{version} ({what})")),
            Self::Installed { versions } => Some(versions.join(", ")),
        }
    }

    /// The newest installed one.
    pub fn newest(&self) -> Option<&str> {
        match self {
            Self::Absent | Self::Remains { .. } | Self::Broken { .. } => None,
            Self::Installed { versions } => versions.last().map(String::as_str),
        }
    }
}

/// What the indexes have of one package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// What would be installed if no version were asked for.
    pub preferred: String,
    /// All that may be asked for.
    pub versions: Vec<String>,
}

/// One package to be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick<'a> {
    pub name: &'a str,
    pub version: Option<&'a str>,
}

/// Whom a manager lets change the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    Root,
    /// It refuses root.
    Owner,
}

pub trait Family: Debug + Sync {
    fn name(&self) -> &'static str;

    /// The tools it is made of. A host that has them all has this manager.
    fn programs(&self) -> &'static [&'static str];

    fn rights(&self) -> Rights {
        Rights::Root
    }

    /// Asks what is installed of `names`.
    fn query(&self, names: &[&str]) -> Call;

    /// An error if the answer does not say so of each name.
    fn read_states(&self, names: &[&str], said: &ToolOutput) -> Result<States, String>;

    /// Asks what the indexes have of `names`. `offline`: nothing may be fetched for it.
    fn search(&self, names: &[&str], offline: bool) -> Vec<Call>;

    /// The answer to one of the calls of `search`. An error if it does not tell what is unknown from what could not be
    /// looked up.
    fn read_offers(&self, names: &[&str], said: &ToolOutput) -> Result<Offers, String>;

    fn refresh(&self) -> Call;

    /// `picks` are names and versions that the indexes have, exactly so: a tool that also takes patterns, groups, files
    /// or modifiers never gets to see one.
    fn install(&self, picks: &[Pick<'_>]) -> Call;

    /// `names` are of packages the database has.
    fn remove(&self, names: &[&str], purge: bool) -> Call;

    /// Whether the version asked for means this one.
    fn fits(&self, wanted: &str, version: &str) -> bool {
        wanted == version
    }

    fn order(&self, one: &str, other: &str) -> Ordering;
}

pub fn call(words: &[&str], names: &[&str]) -> Call {
    words
        .iter()
        .chain(names)
        .map(|word| (*word).to_owned())
        .collect()
}

/// The error text for an answer that cannot be used.
pub fn no_answer(tool: &str, said: &ToolOutput) -> String {
    let code = said.code.map_or_else(
        || "a signal".to_owned(),
        |code| format!("exit status {code}"),
    );
    format!("{tool} ended with {code}: {}", said.last_words())
}
