//! The calls of one operation, in order: what is there, what can be had, the change, what is there now.

use fleetwright_protocol::Outcome;
use fleetwright_protocol::outcome::FailureReason;
use serde_json::json;

use super::decide::{Change, Goal, PackageResult, Status, Task};
use super::family::{Call, Offers, Pick, Rights, State, States};
use super::wanted::Wanted;
use crate::operations::tools::{ToolOutput, Tools};

/// Packages named in the message for a person; all are in the details.
const SENTENCES_MAX: usize = 10;
/// Of what a tool said about one package. With names and versions, the details of 200 packages stay below their limit.
const TROUBLE_CHARS_MAX: usize = 200;
/// How tools say that they need more rights.
const DENIALS: [&str; 6] = [
    "are you root",
    "Permission denied",
    "superuser",
    "oot privileges",
    "unless you are root",
    "Insufficient privileges",
];

pub struct Run<'a> {
    pub goal: Goal<'a>,
    pub prefix: &'a [String],
    pub root: bool,
    pub tools: &'a mut dyn Tools,
}

/// One package on its way.
struct Item<'a> {
    wanted: &'a Wanted,
    before: State,
    task: Task,
}

/// Errors are of the agent: nothing can be said of the packages.
impl Run<'_> {
    pub fn carry_out(&mut self, wanted: &[Wanted], refresh: bool) -> Result<Outcome, String> {
        let (before, open) = self.look(wanted)?;
        if open.is_empty() {
            let reports = self.judge(wanted, &before, &before, |_| None);
            return Ok(self.outcome(&reports, None, false));
        }
        self.check_rights()?;
        if refresh && self.goal.change == Change::Install {
            let said = self.call(&self.goal.family.refresh())?;
            if !said.succeeded() {
                let trouble = format!("the indexes could not be refreshed: {}", words(&said, ""));
                let reports = self.judge(wanted, &before, &before, |_| Some(trouble.clone()));
                return Ok(self.outcome(&reports, Some(&said), false));
            }
        }
        let items = self.plan(wanted, &before, &open, false)?;
        let Some(call) = self.change(&items) else {
            let reports = self.judge(wanted, &before, &before, |name| refusal(&items, name));
            return Ok(self.outcome(&reports, None, false));
        };
        let said = self.call(&call)?;
        let after = match self.query(wanted) {
            Ok(after) => after,
            Err(error) => {
                let message = format!(
                    "{} was run, and what came of it is not known: {error}",
                    tool(&call)
                );
                let mut outcome = Outcome::failed(FailureReason::AgentError, message);
                outcome.changed = true;
                return Ok(outcome);
            }
        };
        let reports = self.judge(wanted, &before, &after, |name| {
            refusal(&items, name).or_else(|| (!said.succeeded()).then(|| words(&said, name)))
        });
        Ok(self.outcome(&reports, Some(&said), before != after))
    }

    /// What [`Self::carry_out`] would do, touching nothing.
    pub fn foresee(&mut self, wanted: &[Wanted], refresh: bool) -> Result<Outcome, String> {
        let (before, open) = self.look(wanted)?;
        let reports: Vec<PackageResult> = self
            .plan(wanted, &before, &open, true)?
            .iter()
            .map(|item| self.goal.forecast(item.wanted, &item.before, &item.task))
            .collect();
        let would_change = reports.iter().any(PackageResult::changes);
        let mut outcome = self.outcome(&reports, None, would_change);
        if !open.is_empty() {
            outcome.message = format!(
                "dry run, nothing was changed; would be: {}",
                outcome.message
            );
        }
        if refresh && self.goal.change == Change::Install {
            outcome.message += " (by the indexes as they are: a dry run does not refresh them)";
        }
        if let Some(details) = outcome.details.as_mut().and_then(|all| all.as_object_mut()) {
            details.insert("dry_run".to_owned(), true.into());
        }
        Ok(outcome)
    }

    /// What is installed, and the names of what is not as wanted.
    fn look(&mut self, wanted: &[Wanted]) -> Result<(States, Vec<String>), String> {
        if self.prefix.is_empty() && self.root && self.goal.family.rights() == Rights::Owner {
            return Err(format!(
                "{} refuses to run as root: name its owner in run_as",
                self.goal.family.name()
            ));
        }
        let before = self.query(wanted)?;
        let open = wanted
            .iter()
            .filter(|wanted| {
                let state = before.get(&wanted.name).unwrap_or(&State::Absent);
                !self.goal.is_met(wanted, state)
            })
            .map(|wanted| wanted.name.clone())
            .collect();
        Ok((before, open))
    }

    /// A prefix may be what gives the right: then the tool itself is left to say no.
    fn check_rights(&self) -> Result<(), String> {
        let family = self.goal.family;
        match family.rights() {
            Rights::Root if self.prefix.is_empty() && !self.root => Err(format!(
                "changing packages with {} needs an agent that runs as root",
                family.name()
            )),
            Rights::Root | Rights::Owner => Ok(()),
        }
    }

    fn query(&mut self, wanted: &[Wanted]) -> Result<States, String> {
        let names: Vec<&str> = wanted.iter().map(|wanted| wanted.name.as_str()).collect();
        let said = self.call(&self.goal.family.query(&names))?;
        self.goal
            .family
            .read_states(&names, &said)
            .map_err(|error| format!("what is installed cannot be told: {error}"))
    }

    fn plan<'w>(
        &mut self,
        wanted: &'w [Wanted],
        before: &States,
        open: &[String],
        offline: bool,
    ) -> Result<Vec<Item<'w>>, String> {
        let offers = match self.goal.change {
            Change::Install if !open.is_empty() => self.offers(open, offline)?,
            Change::Install | Change::Remove => Ok(Offers::new()),
        };
        let item = |wanted: &'w Wanted| {
            let before = before.get(&wanted.name).unwrap_or(&State::Absent).clone();
            let offers = offers.as_ref().map_err(String::as_str);
            let task = self.goal.task(wanted, &before, offers);
            Item {
                wanted,
                before,
                task,
            }
        };
        Ok(wanted.iter().map(item).collect())
    }

    /// The inner error: the manager runs and cannot tell.
    fn offers(&mut self, open: &[String], offline: bool) -> Result<Result<Offers, String>, String> {
        let names: Vec<&str> = open.iter().map(String::as_str).collect();
        let mut offers = Offers::new();
        for call in self.goal.family.search(&names, offline) {
            let said = self.call(&call)?;
            match self.goal.family.read_offers(&names, &said) {
                Ok(found) => offers.extend(found),
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(offers))
    }

    /// The one call that changes something; `None` if nothing can be done.
    fn change(&self, items: &[Item<'_>]) -> Option<Call> {
        let mut picks: Vec<Pick<'_>> = Vec::new();
        for item in items {
            match &item.task {
                Task::Keep | Task::Refuse(_) => {}
                // Of a version that was asked for in part, the whole: so it is the one that was looked up.
                Task::Go { expected } => picks.push(Pick {
                    name: &item.wanted.name,
                    version: item.wanted.version.as_ref().and(expected.as_deref()),
                }),
            }
        }
        let names: Vec<&str> = picks.iter().map(|pick| pick.name).collect();
        let family = self.goal.family;
        if picks.is_empty() {
            return None;
        }
        Some(match self.goal.change {
            Change::Install => family.install(&picks),
            Change::Remove => family.remove(&names, self.goal.purge),
        })
    }

    fn call(&mut self, call: &Call) -> Result<ToolOutput, String> {
        let argv = [self.prefix, call].concat();
        let said = self
            .tools
            .run(&argv)
            .map_err(|error| format!("{} cannot be run: {error}", tool(&argv)))?;
        // What `env` says, and a shell, when there is no such program.
        if said.code == Some(127) {
            return Err(format!(
                "{} cannot be run: {}",
                tool(call),
                words(&said, "")
            ));
        }
        Ok(said)
    }

    fn judge(
        &self,
        wanted: &[Wanted],
        before: &States,
        after: &States,
        trouble: impl Fn(&str) -> Option<String>,
    ) -> Vec<PackageResult> {
        let state =
            |states: &States, name: &str| states.get(name).cloned().unwrap_or(State::Absent);
        wanted
            .iter()
            .map(|wanted| {
                let name = &wanted.name;
                let (before, after) = (state(before, name), state(after, name));
                self.goal.report(wanted, &before, &after, trouble(name))
            })
            .collect()
    }

    /// The reports as a result. `said`: the tool's last answer, where one ran.
    fn outcome(
        &self,
        reports: &[PackageResult],
        said: Option<&ToolOutput>,
        changed: bool,
    ) -> Outcome {
        let failed = || {
            reports
                .iter()
                .filter(|report| report.status == Status::Failed)
        };
        let unclean = said.filter(|said| !said.succeeded());
        let mut outcome = Outcome::succeeded(false);
        if failed().next().is_some() {
            let denied = !self.root
                && !changed
                && unclean
                    .is_some_and(|said| DENIALS.iter().any(|denial| said.stderr.contains(denial)));
            let (reason, why) = if denied {
                (FailureReason::AgentError, "not permitted: ")
            } else {
                (FailureReason::ExitCode, "")
            };
            let message = format!(
                "{why}{} of {} packages not as wanted: {}",
                failed().count(),
                reports.len(),
                sentences(failed())
            );
            outcome = Outcome::failed(reason, message);
            outcome.exit_code = unclean.and_then(|said| said.code);
        } else {
            outcome.message = match reports.iter().any(PackageResult::changes) {
                true => sentences(reports.iter().filter(|report| report.changes())),
                false => "all packages are as wanted already".to_owned(),
            };
            if let Some(said) = unclean {
                outcome.message += &format!(
                    " (although {} ended with an error: {})",
                    self.goal.family.name(),
                    words(said, "")
                );
            }
        }
        outcome.changed = changed;
        outcome.details = Some(json!({"manager": self.goal.family.name(), "packages": reports}));
        outcome
    }
}

fn refusal(items: &[Item<'_>], name: &str) -> Option<String> {
    items.iter().find_map(|item| match &item.task {
        Task::Refuse(reason) if item.wanted.name == name => Some(reason.clone()),
        Task::Refuse(_) | Task::Keep | Task::Go { .. } => None,
    })
}

/// The tool of a call, past `env` and what it sets.
fn tool(call: &[String]) -> &str {
    call.iter()
        .map(String::as_str)
        .find(|word| *word != "env" && !word.contains('='))
        .unwrap_or("the tool")
}

/// The last line that says something of the package, else the last that says anything; fit for one line of a message.
fn words(said: &ToolOutput, name: &str) -> String {
    let says_something = |line: &&str| {
        // dpkg ends with a list of bare names.
        line.trim() != name
            && line
                .split(|c: char| !c.is_ascii_alphanumeric() && !"+-._:@/".contains(c))
                .any(|word| word.trim_end_matches([':', '.']) == name)
    };
    let line = said
        .stderr
        .lines()
        .rev()
        .filter(|_| !name.is_empty())
        .find(says_something)
        .unwrap_or_else(|| said.last_words());
    line.trim()
        .chars()
        .filter(|character| !character.is_control())
        .take(TROUBLE_CHARS_MAX)
        .collect()
}

fn sentences<'a>(reports: impl Iterator<Item = &'a PackageResult>) -> String {
    let mut said: Vec<String> = reports.map(PackageResult::sentence).collect();
    let more = said.len().saturating_sub(SENTENCES_MAX);
    said.truncate(SENTENCES_MAX);
    if more > 0 {
        said.push(format!("and {more} more"));
    }
    said.join("; ")
}
