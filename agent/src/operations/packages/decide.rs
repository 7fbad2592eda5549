//! What to do about each package, and what came of it. Pure: states and offers in, decisions and reports out.

use std::cmp::Ordering;

use serde::Serialize;

use super::family::{Family, Offers, State};
use super::wanted::Wanted;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Install,
    Remove,
}

/// What is asked of every package of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Goal<'a> {
    pub change: Change,
    pub purge: bool,
    pub family: &'a dyn Family,
}

/// What is to be done about one package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// It is as wanted already.
    Keep,
    /// To be installed, in this version if that is known; or to be removed.
    Go { expected: Option<String> },
    /// It cannot be had.
    Refuse(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Installed,
    Upgraded,
    Downgraded,
    Unchanged,
    Removed,
    Absent,
    Failed,
}

/// What there is to say of one package: an entry of the result's `details.packages`. In a dry run, `after` and
/// `status` are what would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PackageResult {
    pub name: String,
    /// A version, or `installed` (in whatever version), or `absent`.
    pub wanted: String,
    /// `null` if it was not installed.
    pub before: Option<String>,
    pub after: Option<String>,
    pub status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Goal<'_> {
    /// Whether there is nothing left to do about a package in this state.
    pub fn is_met(&self, wanted: &Wanted, state: &State) -> bool {
        match (self.change, state) {
            (Change::Install, State::Installed { versions }) => {
                let fits = |version: &String| {
                    let asked = wanted.version.as_deref();
                    asked.is_none_or(|asked| self.family.fits(asked, version))
                };
                versions.iter().any(fits)
            }
            (Change::Install, State::Absent | State::Remains { .. } | State::Broken { .. }) => {
                false
            }
            (Change::Remove, State::Absent) => true,
            (Change::Remove, State::Remains { .. }) => !self.purge,
            (Change::Remove, State::Broken { .. }) => false,
            // A removal that names a version is about that version only.
            (Change::Remove, State::Installed { versions }) => {
                wanted.version.as_deref().is_some_and(|asked| {
                    !versions
                        .iter()
                        .any(|version| self.family.fits(asked, version))
                })
            }
        }
    }

    /// What to do, by what the indexes have; `Err` if they cannot tell.
    pub fn task(&self, wanted: &Wanted, before: &State, offers: Result<&Offers, &str>) -> Task {
        if self.is_met(wanted, before) {
            return Task::Keep;
        }
        if self.change == Change::Remove {
            return Task::Go { expected: None };
        }
        let offers = match offers {
            Ok(offers) => offers,
            Err(reason) => {
                return Task::Refuse(format!("what can be installed is not known: {reason}"));
            }
        };
        let Some(offer) = offers.get(&wanted.name) else {
            return Task::Refuse("there is no such package in the indexes".to_owned());
        };
        let Some(asked) = &wanted.version else {
            return Task::Go {
                expected: Some(offer.preferred.clone()),
            };
        };
        let fitting = offer
            .versions
            .iter()
            .find(|version| self.family.fits(asked, version));
        match fitting {
            Some(version) => Task::Go {
                expected: Some(version.clone()),
            },
            None => Task::Refuse(format!(
                "the indexes do not have version {asked}, only {}",
                offer.versions.join(", ")
            )),
        }
    }

    /// What came of it by the manager's own database. `trouble`: what to say if it is not as wanted.
    pub fn report(
        &self,
        wanted: &Wanted,
        before: &State,
        after: &State,
        trouble: Option<String>,
    ) -> PackageResult {
        let met = self.is_met(wanted, after);
        let status = if met {
            self.status(before, after)
        } else {
            Status::Failed
        };
        let message = match (met, trouble) {
            (false, Some(trouble)) => Some(trouble),
            (false, None) => Some(format!("it is {}", shown(after))),
            (true, _) => (status == Status::Unchanged && self.change == Change::Remove)
                .then(|| "another version is installed".to_owned()),
        };
        PackageResult {
            name: wanted.name.clone(),
            wanted: match self.change {
                Change::Install => wanted.version.clone().unwrap_or("installed".to_owned()),
                Change::Remove => "absent".to_owned(),
            },
            before: before.version(),
            after: after.version(),
            status,
            message,
        }
    }

    /// What would come of `task`, for a dry run.
    pub fn forecast(&self, wanted: &Wanted, before: &State, task: &Task) -> PackageResult {
        let after = match (task, self.change) {
            (Task::Keep | Task::Refuse(_), _) => before.clone(),
            (Task::Go { .. }, Change::Remove) => State::Absent,
            (Task::Go { expected }, Change::Install) => State::Installed {
                versions: expected.iter().cloned().collect(),
            },
        };
        let trouble = match task {
            Task::Refuse(reason) => Some(reason.clone()),
            Task::Keep | Task::Go { .. } => None,
        };
        self.report(wanted, before, &after, trouble)
    }

    /// The word for a change that led to what is wanted.
    fn status(&self, before: &State, after: &State) -> Status {
        match self.change {
            Change::Remove if matches!(after, State::Installed { .. }) => Status::Unchanged,
            Change::Remove if before == after => Status::Absent,
            Change::Remove => Status::Removed,
            Change::Install if before == after => Status::Unchanged,
            Change::Install => match (before.newest(), after.newest()) {
                (None, _) | (_, None) => Status::Installed,
                (Some(before), Some(after)) => match self.family.order(before, after) {
                    Ordering::Less => Status::Upgraded,
                    Ordering::Greater => Status::Downgraded,
                    Ordering::Equal => Status::Installed,
                },
            },
        }
    }
}

impl PackageResult {
    pub fn changes(&self) -> bool {
        match self.status {
            Status::Installed | Status::Upgraded | Status::Downgraded | Status::Removed => true,
            Status::Unchanged | Status::Absent | Status::Failed => false,
        }
    }

    /// `upgraded nginx 1.0 to 1.1`, or why not.
    pub fn sentence(&self) -> String {
        let name = &self.name;
        let version = |version: &Option<String>| version.clone().unwrap_or_default();
        let (before, after) = (version(&self.before), version(&self.after));
        let said = match self.status {
            Status::Installed => format!("installed {name} {after}"),
            Status::Upgraded => format!("upgraded {name} {before} to {after}"),
            Status::Downgraded => format!("downgraded {name} {before} to {after}"),
            Status::Removed => format!("removed {name} {before}"),
            Status::Unchanged | Status::Absent => format!("{name} as it is"),
            Status::Failed => match &self.message {
                Some(message) => format!("{name}: {message}"),
                None => name.clone(),
            },
        };
        said.trim_end().to_owned()
    }
}

fn shown(state: &State) -> String {
    match state {
        State::Absent => "not installed".to_owned(),
        State::Remains { .. } => "removed, and its configuration is still there".to_owned(),
        State::Broken { version, what } => format!("{what} in version {version}"),
        State::Installed { versions } => format!("installed in version {}", versions.join(", ")),
    }
}

#[cfg(test)]
mod tests;
