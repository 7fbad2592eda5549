//! What clients see of claims.

use std::collections::BTreeSet;

use fleetwright_plugin_api::sdk::{Reply, ServerError};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::decide::{Ask, Situation};
use crate::jobs::job::Job;
use crate::jobs::view::{self, JobView};

/// Candidates shown of one claim.
pub const CANDIDATES_MAX: usize = 50;

/// A job that was claimed: what its holder needs to work on it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ClaimedView {
    #[serde(flatten)]
    pub job: JobView,
    pub body_md: Option<String>,
    /// Where an earlier holder stood.
    pub checkpoint: Option<String>,
    pub claim_id: Option<String>,
    #[serde(flatten)]
    pub explanation: Option<Explanation>,
}

/// Why a claim gets what it gets; only where that was asked for.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Explanation {
    /// The first job of each queue that the factory may take from, best first, at most 50.
    pub candidates: Vec<CandidateView>,
    /// Seats that were free.
    pub seats_free: i64,
    /// Products whose jobs were not looked at, because their budgets are paused or used up; at most 50.
    pub closed_products: Vec<String>,
}

/// A job that could have been claimed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CandidateView {
    pub job_id: Uuid,
    pub product_id: String,
    /// `low`, `normal`, `high` or `critical`.
    pub priority: &'static str,
    /// Its four terms and their `total`, as numbers of at most three places.
    #[schema(value_type = Object)]
    pub score: Value,
    /// The weights it was reckoned with.
    #[schema(value_type = Object)]
    pub weights: Value,
}

/// The answer to a claim that got a job.
pub fn claimed(
    job: &Job,
    body: Option<&str>,
    explanation: Option<Explanation>,
) -> Result<Reply, ServerError> {
    let lease = job.lease.as_ref();
    let shown = ClaimedView {
        job: view::job(job),
        body_md: body.map(str::to_owned),
        checkpoint: job.checkpoint.clone(),
        claim_id: lease.and_then(|lease| lease.claim_id.clone()),
        explanation,
    };
    let reply = Reply::json(200, &shown)?;
    Ok(reply.with_header("etag", format!("\"{}\"", job.revision)))
}

/// As the claim was when it came to its turn.
pub fn explanation(situation: &Situation, ask: &Ask) -> Explanation {
    let candidates = situation.candidates(ask, &BTreeSet::new());
    let shown = candidates.into_iter().take(CANDIDATES_MAX);
    let factory = situation.factories.get(&ask.factory_id);
    // Only those of which something waits that the factory may know of.
    let may_know = |product: &String| {
        let tenant = factory.map_or("", |factory| factory.tenant_id.as_str());
        let mut queues = situation.queues.iter().map(|queue| &queue.bucket);
        queues.any(|queue| {
            queue.product_id == *product && (tenant.is_empty() || tenant == queue.tenant_id)
        })
    };
    let closed = situation.rooms.iter();
    let closed = closed.filter(|(product, room)| room.closed && may_know(product));
    Explanation {
        candidates: shown
            .map(|one| CandidateView {
                job_id: one.job_id,
                priority: one.priority.as_str(),
                score: one.score.to_json(),
                weights: situation.weights_of(ask.weights, &one.product_id).to_json(),
                product_id: one.product_id,
            })
            .collect(),
        seats_free: factory.map_or(0, |factory| factory.seats_free.max(0)),
        closed_products: closed
            .map(|(product, _)| product.clone())
            .take(CANDIDATES_MAX)
            .collect(),
    }
}
