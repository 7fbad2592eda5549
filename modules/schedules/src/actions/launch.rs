//! Launches recorded runs: decides, writes the decision, then creates the operation under the run's own id, which its module
//! creates once however often it is asked, then writes that it is there. A crash between any two steps repeats a step that
//! changes nothing.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use fleetwright_operations::calls;
use fleetwright_plugin_api::sdk::{Batch, CallContext, CallError, Problem, Server, ServerError};
use futures_util::StreamExt as _;
use futures_util::stream::iter;
use uuid::Uuid;

use super::{FEATURE, LAUNCHED_SIGNAL, follow};
use crate::decide::{
    Kind, LaunchFacts, LaunchStep, OperationStatus, OverlapPolicy, RunEnd, decide_launch,
};
use crate::request::launch_body;
use crate::store::runs::{self, Phase, Run};
use crate::store::{self, Header};

/// Runs looked at together.
const PAGE: u32 = 250;
/// Operations created at once. Each waits for a commit, and the writer groups what waits.
const AT_ONCE: usize = 16;
/// How long a launch is tried again while something it needs is away; well within a day's fires of an hourly schedule.
const PATIENCE_US: i64 = 600 * 1_000_000;

/// What a pass has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launched {
    /// Nothing waits.
    Idle,
    /// Something was launched or ended; there may be more.
    Progress,
    /// What waits needs something that is away.
    Waiting,
}

/// One pass over all the runs that wait, so that those whose module is away keep no others waiting: of each schedule one.
pub async fn launch_waiting(server: &Server) -> Result<Launched, ServerError> {
    let (mut seen, mut after) = (HashSet::new(), runs::Place::FIRST);
    let mut outcome = Launched::Idle;
    loop {
        let page = runs::waiting(server.db(), after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(outcome);
        };
        after = runs::Place::of(last);
        let first: Vec<Run> = page
            .into_iter()
            .filter(|run| seen.insert(run.schedule_id))
            .collect();
        if first.is_empty() {
            continue;
        }
        let progress = launch_page(server, first).await?;
        outcome = match outcome {
            Launched::Idle | Launched::Waiting if !progress => Launched::Waiting,
            Launched::Idle | Launched::Waiting | Launched::Progress => Launched::Progress,
        };
    }
}

/// Brings runs of different schedules forward. Returns whether something was done.
async fn launch_page(server: &Server, waiting: Vec<Run>) -> Result<bool, ServerError> {
    let pass = Pass::read(server, &waiting).await?;
    let decided: Vec<(Run, LaunchStep)> = waiting
        .into_iter()
        .filter_map(|run| pass.decide(run))
        .collect();
    let now_us = server.now_us();
    let batch = decided.iter().fold(Batch::new(), |batch, (run, step)| {
        pass.write(batch, run, step, now_us)
    });
    let mut progress = !batch.is_empty();
    commit(server, batch).await?;
    let outcomes = pass.launch_all(server, decided).await?;
    let now_us = server.now_us();
    let batch = outcomes
        .iter()
        .fold(Batch::new(), |batch, outcome| match outcome {
            Outcome::Launched(id, status) => batch.sql(runs::launched(*id, *status, now_us)),
            Outcome::Ended(id, end) => batch.sql(runs::ended(*id, Phase::Launching, end, now_us)),
            Outcome::Again => batch,
        });
    progress |= outcomes
        .iter()
        .any(|outcome| !matches!(outcome, Outcome::Again));
    commit(server, batch).await?;
    Ok(progress)
}

enum Outcome {
    Launched(Uuid, OperationStatus),
    Ended(Uuid, RunEnd),
    /// It is tried again.
    Again,
}

/// What one pass knows.
struct Pass {
    now_us: i64,
    headers: HashMap<Uuid, Header>,
    /// Operations that are not over, by schedule.
    open: HashMap<Uuid, Vec<Uuid>>,
    /// Of the waiting runs themselves; a kind that cannot be asked is missing.
    existing: HashMap<Kind, HashMap<Uuid, OperationStatus>>,
    /// Why nothing of the kind may start.
    unlicensed: HashMap<Kind, String>,
    /// As whom to launch; none for who may not.
    acting: HashMap<(String, Kind), Option<CallContext>>,
}

impl Pass {
    async fn read(server: &Server, waiting: &[Run]) -> Result<Self, ServerError> {
        let ids: Vec<Uuid> = waiting.iter().map(|run| run.schedule_id).collect();
        // First: what launches after this is told by the count of launches.
        let headers = store::headers_of(server.db(), &ids).await?;
        // Where runs may overlap, what goes on says nothing; and it may be much.
        let exclusive: Vec<Uuid> = headers
            .iter()
            .filter(|header| header.overlap != OverlapPolicy::Allow)
            .map(|header| header.id)
            .collect();
        let open = follow::open_of(server, &exclusive).await?;
        let mut by_schedule: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
        for run in open.iter().filter(|run| run.phase == Phase::Launched) {
            by_schedule.entry(run.schedule_id).or_default().push(run.id);
        }
        let mut pass = Self {
            now_us: server.now_us(),
            headers: headers
                .into_iter()
                .map(|header| (header.id, header))
                .collect(),
            open: by_schedule,
            existing: HashMap::new(),
            unlicensed: HashMap::new(),
            acting: HashMap::new(),
        };
        for kind in Kind::ALL {
            let of_kind = waiting.iter().filter(|run| run.kind == kind);
            let ids: Vec<Uuid> = of_kind.map(|run| run.id).collect();
            if ids.is_empty() {
                continue;
            }
            if let Some(found) = follow::statuses(server, kind, &ids).await? {
                pass.existing.insert(kind, found);
            }
            let refused = [FEATURE, kind.feature()]
                .map(|feature| server.features().state(feature))
                .into_iter()
                .find(|state| !state.new_work);
            if let Some(state) = refused {
                let reason = state.reason.unwrap_or_else(|| "not_licensed".to_owned());
                pass.unlicensed.insert(kind, reason);
            }
        }
        for run in waiting {
            let key = (run.principal.clone(), run.kind);
            if let Entry::Vacant(entry) = pass.acting.entry(key) {
                let path = run.kind.path();
                let acting = server.identity().acting(&run.principal, "POST", path);
                entry.insert(acting.await?);
            }
        }
        Ok(pass)
    }

    /// None for a run whose schedule was deleted since: its row is gone with it.
    fn decide(&self, run: Run) -> Option<(Run, LaunchStep)> {
        let header = self.headers.get(&run.schedule_id)?;
        let existing = self.existing.get(&run.kind);
        let waited_us = self.waited_us(&run);
        let open = self.open.get(&run.schedule_id);
        let facts = LaunchFacts {
            operation: existing.and_then(|found| found.get(&run.id)).copied(),
            is_module_away: existing.is_none() && waited_us < PATIENCE_US,
            launching: run.phase == Phase::Launching,
            unlicensed: self.unlicensed.get(&run.kind).map(String::as_str),
            may_launch: self.context(&run).is_some(),
            overlap: header.overlap,
            open: open.map_or(&[], Vec::as_slice),
        };
        let step = decide_launch(&facts);
        Some((run, step))
    }

    fn write(&self, batch: Batch, run: &Run, step: &LaunchStep, now_us: i64) -> Batch {
        match (step, self.headers.get(&run.schedule_id)) {
            (LaunchStep::Adopt(status), _) => batch.sql(runs::launched(run.id, *status, now_us)),
            (LaunchStep::End(end), _) => batch.sql(runs::ended(run.id, run.phase, end, now_us)),
            (LaunchStep::Launch { .. }, Some(header)) if run.phase == Phase::Pending => {
                let [turn, launching] = runs::start_launch(header, run.id);
                batch.sql(turn).sql(launching)
            }
            (LaunchStep::Launch { .. } | LaunchStep::Wait, _) => batch,
        }
    }

    /// A run that is dated in the future was recorded before the clock was set back: better that it ends visibly than that
    /// it waits for a day.
    fn waited_us(&self, run: &Run) -> i64 {
        (self.now_us - run.recorded_at_us).saturating_abs()
    }

    fn context(&self, run: &Run) -> Option<&CallContext> {
        let acting = self.acting.get(&(run.principal.clone(), run.kind));
        acting.and_then(Option::as_ref)
    }

    /// Creates what is to be launched, as it is stored now: another server may have decided otherwise.
    async fn launch_all(
        &self,
        server: &Server,
        decided: Vec<(Run, LaunchStep)>,
    ) -> Result<Vec<Outcome>, ServerError> {
        let to_launch: Vec<(Run, Vec<Uuid>)> = decided
            .into_iter()
            .filter_map(|(run, step)| match step {
                LaunchStep::Launch { cancel } => Some((run, cancel)),
                LaunchStep::Adopt(_) | LaunchStep::End(_) | LaunchStep::Wait => None,
            })
            .collect();
        let ids: Vec<Uuid> = to_launch.iter().map(|(run, _)| run.id).collect();
        let launching = runs::launching_of(server.db(), &ids).await?;
        let creations = to_launch
            .into_iter()
            .filter(|(run, _)| self.is_as_read(run, launching.get(&run.id)))
            .map(|(run, cancel)| self.launch(server, run, cancel));
        Ok(iter(creations).buffer_unordered(AT_ONCE).collect().await)
    }

    /// Whether what was read of the run's schedule is still so: it has the turn, and nothing else was launched.
    fn is_as_read(&self, run: &Run, launches: Option<&i64>) -> bool {
        let header = self.headers.get(&run.schedule_id);
        let own_turn = i64::from(run.phase == Phase::Pending);
        header
            .zip(launches)
            .is_some_and(|(header, launches)| *launches == header.launches + own_turn)
    }

    async fn launch(&self, server: &Server, run: Run, cancel: Vec<Uuid>) -> Outcome {
        match self.try_launch(server, &run, cancel).await {
            Ok(status) => Outcome::Launched(run.id, status),
            Err(error) => {
                let waited_us = self.waited_us(&run);
                match end_of(error, waited_us) {
                    Some(end) => Outcome::Ended(run.id, end),
                    None => Outcome::Again,
                }
            }
        }
    }

    async fn try_launch(
        &self,
        server: &Server,
        run: &Run,
        cancel: Vec<Uuid>,
    ) -> Result<OperationStatus, CallError> {
        let gone = || CallError::Server(ServerError::NotFound("the schedule".to_owned()));
        let context = self.context(run).ok_or_else(gone)?;
        let (header, work) = store::with_work(server.db(), run.schedule_id)
            .await?
            .ok_or_else(gone)?;
        if !is_as_recorded(run, &header) {
            let detail = "Somebody else has changed the schedule since.";
            return Err(Problem::conflict("schedule_changed", detail).into());
        }
        let module = run.kind.as_str();
        for id in cancel {
            match calls::cancel(server, context, module, id).await {
                Ok(()) => {}
                // It is over, or swept away: nothing of it starts any more.
                Err(CallError::Problem(problem))
                    if matches!(problem.status().as_u16(), 404 | 409) => {}
                Err(error) => return Err(error),
            }
        }
        let request = launch_body(&header.operation_type, &work);
        let asked = calls::Create {
            id: run.id,
            request,
        };
        let status = calls::create(server, context, module, &asked).await?;
        Ok(status.unwrap_or(OperationStatus::Queued))
    }
}

/// Whether what the schedule launches now is what its principal meant when the run was recorded: what they have saved
/// themselves, or what was there then. Anybody else's runs with the rights of who saved it, at its own next fire.
fn is_as_recorded(run: &Run, header: &Header) -> bool {
    let is_own = run.principal == header.owner.id;
    let is_same = run
        .revision
        .is_none_or(|revision| revision == header.revision);
    run.kind == header.kind && (is_own || is_same)
}

/// How a run ends whose launch was refused; none if it is worth another try.
fn end_of(error: CallError, waited_us: i64) -> Option<RunEnd> {
    let later = |code: &str| {
        let is_over = waited_us >= PATIENCE_US;
        is_over.then(|| RunEnd::FailedToLaunch(code.to_owned()))
    };
    match error {
        CallError::Problem(problem) if problem.code() == "selection-empty" => {
            Some(RunEnd::SelectionEmpty)
        }
        CallError::Problem(problem)
            if !problem.status().is_server_error() && problem.code() != "in-progress" =>
        {
            Some(RunEnd::FailedToLaunch(problem.code().to_owned()))
        }
        CallError::Problem(problem) => later(problem.code()),
        CallError::Unavailable { reason, .. } => Some(match reason.as_str() {
            "not_licensed" | "license_expired" | "host_limit_exceeded" => {
                RunEnd::SkippedUnlicensed(reason)
            }
            _ => RunEnd::FailedToLaunch(reason),
        }),
        CallError::Server(error) => {
            tracing::warn!(%error, "a run could not be launched");
            later("unavailable")
        }
    }
}

async fn commit(server: &Server, batch: Batch) -> Result<(), ServerError> {
    if batch.is_empty() {
        return Ok(());
    }
    let batch = batch.signal(LAUNCHED_SIGNAL);
    server.db().commit(&server.own_context(), batch).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_ends_a_run_and_a_failure_is_tried_again_for_a_while() {
        let problem = |status: u16, code: &'static str| {
            let status = axum::http::StatusCode::from_u16(status).unwrap();
            CallError::Problem(Problem::new(status, code, ""))
        };
        let unavailable = |reason: &str| CallError::Unavailable {
            feature: String::new(),
            module: String::new(),
            reason: reason.to_owned(),
        };
        let failed = |reason: &str| Some(RunEnd::FailedToLaunch(reason.to_owned()));
        let away = || CallError::Server(ServerError::Unavailable("restarting".to_owned()));
        let cases = [
            (
                problem(422, "selection-empty"),
                0,
                Some(RunEnd::SelectionEmpty),
            ),
            (problem(422, "group-unknown"), 0, failed("group-unknown")),
            (problem(503, "unavailable"), 0, None),
            (problem(409, "in-progress"), 0, None),
            (
                problem(503, "unavailable"),
                PATIENCE_US,
                failed("unavailable"),
            ),
            (away(), PATIENCE_US - 1, None),
            (away(), PATIENCE_US, failed("unavailable")),
            (unavailable("module_failed"), 0, failed("module_failed")),
            (
                unavailable("license_expired"),
                0,
                Some(RunEnd::SkippedUnlicensed("license_expired".to_owned())),
            ),
        ];
        for (error, waited_us, expected) in cases {
            let text = error.to_string();
            assert_eq!(
                end_of(error, waited_us),
                expected,
                "{text} after {waited_us}"
            );
        }
    }
}
