//! Claims as they are asked for: at once, or waiting for something to do.

use std::time::{Duration, Instant};

use fleetwright_plugin_api::sdk::CallContext;
use futures_util::future::{Either, select};
use uuid::Uuid;

use super::claim::Claim;
use super::claimer::{Claimer, Outcome};
use super::decide::Ask;
use super::request::{Asked, ClaimQuery};
use crate::error::PlacementError;
use crate::jobs::actions::visible;
use crate::jobs::store::change::QUEUED_SIGNAL;

/// Looked again also without a signal: signals are hints, and a seat that is given back has none.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The best job for a factory; where there is none, waits for one as long as it may.
pub async fn claim_any(
    claimer: &Claimer,
    context: &CallContext,
    asked: &Asked,
    query: &ClaimQuery,
) -> Result<Outcome, PlacementError> {
    let wait = Duration::from_secs(asked.wait_seconds);
    let until = Instant::now() + wait;
    let keys = [QUEUED_SIGNAL.to_owned()];
    let mut generation = 0;
    loop {
        let outcome = claimer.claim(claim(context, asked, query, None)).await?;
        let left = until.saturating_duration_since(Instant::now());
        if !matches!(outcome, Outcome::Nothing(_)) || left.is_zero() {
            return Ok(outcome);
        }
        let server = claimer.server();
        let signals = server.signals().clone();
        let signal = std::pin::pin!(signals.wait(&keys, generation));
        let timer = std::pin::pin!(server.sleep(left.min(LOOK_EVERY)));
        if let Either::Left((next, _)) = select(signal, timer).await {
            generation = next;
        }
    }
}

/// This job and no other.
pub async fn claim_one(
    claimer: &Claimer,
    context: &CallContext,
    job_id: Uuid,
    asked: &Asked,
    query: &ClaimQuery,
) -> Result<Outcome, PlacementError> {
    visible(claimer.server(), context, job_id).await?;
    claimer
        .claim(claim(context, asked, query, Some(job_id)))
        .await
}

fn claim(context: &CallContext, asked: &Asked, query: &ClaimQuery, only_id: Option<Uuid>) -> Claim {
    let is_dry = query.dry_run.unwrap_or(false);
    Claim {
        context: context.clone(),
        ask: Ask {
            factory_id: asked.factory_id,
            weights: asked.weights,
            product_id: asked.product_id.clone(),
            only_id,
            only: None,
        },
        claim_id: asked.claim_id.clone(),
        explain: is_dry || query.explain.unwrap_or(false),
        is_dry,
    }
}
