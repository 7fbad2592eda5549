//! Gives jobs to claims, those that wait together at once: read, decided, committed, each claim in a batch of its own with its
//! own caller's audit row and stored answer. A batch holds only while what it was decided on is still so: job, seat, money and
//! what the factory can; whoever lost a race is decided on again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fleetwright_plugin_api::sdk::{Batch, Problem, Reply, Server, ServerError};
use futures_util::future::join_all;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::claim::Claim;
use super::commit::{self, Taken};
use super::decide::{Ask, Decision, decide};
use super::look::{Sight, look};
use super::store::{self, Named};
use super::view::{self, Explanation};
use crate::error::{ATTEMPTS_MAX, PlacementError};
use crate::factories::store::Factory;
use crate::jobs::job::Job;
use crate::jobs::store as jobs;
use crate::rounds::Rounds;
use crate::settings::Settings;

/// Decided on at once: one look serves so many.
const TOGETHER_MAX: usize = 64;

/// What came of it.
#[derive(Clone, Debug)]
pub enum Outcome {
    Given(Reply),
    /// There is nothing for it.
    Nothing(Option<Explanation>),
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Claimer {
    shared: Arc<Shared>,
}

struct Shared {
    server: Server,
    settings: Settings,
    rounds: Rounds<Waiting>,
}

struct Waiting {
    claim: Claim,
    attempts: usize,
    answer: oneshot::Sender<Result<Outcome, PlacementError>>,
}

impl Claimer {
    pub fn new(server: &Server) -> Self {
        let shared = Shared {
            server: server.clone(),
            settings: Settings::of(server),
            rounds: Rounds::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    pub fn server(&self) -> &Server {
        &self.shared.server
    }

    /// Waits for its turn, with others.
    pub async fn claim(&self, claim: Claim) -> Result<Outcome, PlacementError> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            claim,
            attempts: 0,
            answer,
        };
        let claimer = self.clone();
        let work = move |together| {
            let claimer = claimer.clone();
            async move { claimer.round(together).await }
        };
        self.shared.rounds.add(waiting, TOGETHER_MAX, work);
        answered.await.unwrap_or(Err(PlacementError::Contended))
    }

    /// Gives back those that have to be decided on again.
    async fn round(&self, waiting: Vec<Waiting>) -> Vec<Waiting> {
        let mut asks: Vec<Ask> = waiting.iter().map(|one| one.claim.ask.clone()).collect();
        let names: Vec<(Uuid, &str)> = waiting.iter().filter_map(Waiting::name).collect();
        let explained = waiting.iter().any(|one| one.claim.explain);
        let depth = waiting
            .len()
            .max(if explained { view::CANDIDATES_MAX } else { 0 });
        let server = self.server();
        let looked = look(server, &self.shared.settings, &mut asks, &names, depth).await;
        let sight = match looked {
            Ok(sight) => sight,
            Err(error) => return refuse_all(waiting, &error),
        };
        let mut asked = Vec::new();
        let mut open = Vec::new();
        for (one, ask) in waiting.into_iter().zip(asks) {
            match self.answered(&one.claim, &ask, &sight).await {
                Ok(None) => {
                    asked.push(ask);
                    open.push(one);
                }
                Ok(Some(outcome)) => one.tell(Ok(outcome)),
                Err(error) => one.tell(Err(error)),
            }
        }
        let decisions = decide(sight.situation.clone(), &asked);
        self.carry_out(open, &asked, &decisions, &sight).await
    }

    /// What can be said without a decision: a claim made before, one that only asks, one that cannot be.
    async fn answered(
        &self,
        claim: &Claim,
        ask: &Ask,
        sight: &Sight,
    ) -> Result<Option<Outcome>, PlacementError> {
        let factory = sight.factories.get(&ask.factory_id);
        let tenant = claim.context.tenant.as_ref();
        if factory.is_none_or(|one| tenant.is_some_and(|tenant| *tenant != one.tenant_id)) {
            let detail = "There is no such factory.";
            return Err(Problem::invalid_field("/factory_id", "factory-unknown", detail).into());
        }
        if claim.is_dry {
            let explanation = view::explanation(&sight.situation, ask);
            return Ok(Some(Outcome::Nothing(Some(explanation))));
        }
        let made = sight.named.iter().find(|named| {
            named.factory_id == ask.factory_id && Some(&named.claim_id) == claim.claim_id.as_ref()
        });
        if let Some(named) = made {
            return self.made(named).await.map(Some);
        }
        if let Some(job_id) = ask.only_id.filter(|_| ask.only.is_none()) {
            let job = jobs::job(self.server().db(), job_id).await?;
            let job = job.ok_or(PlacementError::NotFound("job"))?;
            return Err(commit::not_queued(&job));
        }
        Ok(None)
    }

    /// The job of a claim that was made before, if its lease goes on.
    async fn made(&self, named: &Named) -> Result<Outcome, PlacementError> {
        let db = self.server().db();
        let job = jobs::job(db, named.job_id).await?;
        let job = job.ok_or(PlacementError::NotFound("job"))?;
        let is_held = job.lease_epoch == named.lease_epoch
            && job
                .lease
                .as_ref()
                .is_some_and(|lease| lease.factory_id == named.factory_id);
        if !is_held {
            let detail =
                "What was claimed under this claim_id is held no more; claim with another.";
            let problem = Problem::conflict("stale-lease", detail);
            let problem = problem.with_extension("job_id", job.id.to_string());
            return Err(problem
                .with_extension("lease_epoch", job.lease_epoch)
                .into());
        }
        let body = jobs::body(db, job.id).await?;
        let reply = view::claimed(&job, body.as_deref(), None)?;
        Ok(Outcome::Given(reply))
    }

    async fn carry_out(
        &self,
        waiting: Vec<Waiting>,
        asks: &[Ask],
        decisions: &[Decision],
        sight: &Sight,
    ) -> Vec<Waiting> {
        let db = self.server().db();
        let taken: BTreeSet<Uuid> = decisions.iter().flat_map(Decision::jobs).collect();
        let taken: Vec<Uuid> = taken.into_iter().collect();
        let claimed: Vec<Uuid> = decisions.iter().filter_map(Decision::claimed).collect();
        let read = async {
            let found = jobs::jobs(db, &taken).await?;
            Ok((found, store::bodies(db, &claimed).await?))
        };
        let (found, bodies) = match read.await {
            Ok(read) => read,
            Err(error) => return refuse_all(waiting, &error),
        };
        let found: BTreeMap<Uuid, Job> = found.into_iter().map(|job| (job.id, job)).collect();
        let each = waiting.into_iter().zip(asks).zip(decisions);
        let each = each.map(|((one, ask), decision)| {
            let body = decision.claimed().and_then(|id| bodies.get(&id));
            self.settle(one, ask, decision, sight, &found, body.map(String::as_str))
        });
        join_all(each).await.into_iter().flatten().collect()
    }

    /// Commits one and tells what came of it; gives it back if it has to be decided on again.
    async fn settle(
        &self,
        mut one: Waiting,
        ask: &Ask,
        decision: &Decision,
        sight: &Sight,
        found: &BTreeMap<Uuid, Job>,
        body: Option<&str>,
    ) -> Option<Waiting> {
        let explanation = || {
            let wanted = one.claim.explain;
            wanted.then(|| view::explanation(&sight.situation, ask))
        };
        let (job_id, victim_id) = match decision {
            Decision::Take { job_id } => (job_id, None),
            Decision::Preempt { job_id, victim_id } => (job_id, Some(victim_id)),
            Decision::Nothing => {
                let outcome = Outcome::Nothing(explanation());
                one.tell(Ok(outcome));
                return None;
            }
            Decision::Again => return Some(one),
        };
        let job = found.get(job_id);
        let taken = Taken {
            job,
            victim: victim_id.map(|id| found.get(id)),
            body,
            explanation: explanation(),
        };
        let factory = sight.factories.get(&ask.factory_id);
        match self.take(&one.claim, factory, taken).await {
            Ok(reply) => one.tell(Ok(Outcome::Given(reply))),
            Err(None) if one.attempts < ATTEMPTS_MAX => {
                one.attempts += 1;
                return Some(one);
            }
            Err(None) => one.tell(Err(PlacementError::Contended)),
            Err(Some(error)) => one.tell(Err(error)),
        }
        None
    }

    /// No error: it is not so any more.
    async fn take(
        &self,
        claim: &Claim,
        factory: Option<&Factory>,
        taken: Taken<'_>,
    ) -> Result<Reply, Option<PlacementError>> {
        let server = self.server();
        let settings = &self.shared.settings;
        let made =
            factory.and_then(|factory| commit::batch(server, settings, claim, factory, taken));
        let (batch, reply): (Batch, Reply) = made.ok_or(None)?.map_err(Some)?;
        match server.db().commit(&claim.context, batch).await {
            Ok(()) => Ok(reply),
            Err(ServerError::Guard { .. } | ServerError::Constraint { .. }) => Err(None),
            Err(error) => Err(Some(error.into())),
        }
    }
}

impl Waiting {
    fn name(&self) -> Option<(Uuid, &str)> {
        let claim_id = self.claim.claim_id.as_deref()?;
        Some((self.claim.ask.factory_id, claim_id))
    }

    fn tell(self, outcome: Result<Outcome, PlacementError>) {
        // Whoever is gone needs no answer.
        drop(self.answer.send(outcome));
    }
}

fn refuse_all(waiting: Vec<Waiting>, error: &ServerError) -> Vec<Waiting> {
    for one in waiting {
        one.tell(Err(error.clone().into()));
    }
    Vec::new()
}
