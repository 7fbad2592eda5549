//! The batch of a claim: it holds only while what was decided on is still so.

use fleetwright_plugin_api::sdk::{AuditEntry, Batch, Reply, Server};
use serde_json::json;
use uuid::Uuid;

use super::claim::Claim;
use super::store::{self, Named};
use super::view::{self, Explanation};
use crate::budgets;
use crate::error::PlacementError;
use crate::factories::store::Factory;
use crate::jobs::decide::{Actor, Event, InvalidTransition, after, touched};
use crate::jobs::job::{Job, Lease};
use crate::jobs::store::change::{self, Event as Told};
use crate::settings::Settings;

/// What a claim takes, as it was read after it was decided; none where it is gone.
pub struct Taken<'a> {
    pub job: Option<&'a Job>,
    pub victim: Option<Option<&'a Job>>,
    pub body: Option<&'a str>,
    pub explanation: Option<Explanation>,
}

/// None: what was read is not what was decided on.
pub fn batch(
    server: &Server,
    settings: &Settings,
    claim: &Claim,
    factory: &Factory,
    taken: Taken<'_>,
) -> Option<Result<(Batch, Reply), PlacementError>> {
    let job = taken.job?;
    let claimed = claimed(server, settings, claim, factory.id, job).ok()?;
    let mut batch = Batch::new();
    let mut shown = claimed.clone();
    if let Some(victim) = taken.victim {
        let victim = victim?;
        // First: it makes room for the seat that is taken then.
        batch = evict(batch, server, victim, job.id)?;
        batch = take(batch, server, job, &claimed, factory);
        shown = touched(&claimed, server.now_us());
        let told = preempted(victim.id, job.id, &shown);
        batch = change::update(batch, &claimed, &shown, &told);
    } else {
        batch = take(batch, server, job, &claimed, factory);
    }
    // Whether the product has a budget is found out there: also one that the decision did not see.
    if settings.budgets {
        let (product, micros) = (&job.product_id, job.estimate_micros);
        batch = budgets::store::reserve(batch, product, job.id, claimed.lease_epoch, micros);
    }
    if let Some(claim_id) = &claim.claim_id {
        let named = Named {
            factory_id: factory.id,
            claim_id: claim_id.clone(),
            job_id: job.id,
            lease_epoch: claimed.lease_epoch,
        };
        batch = store::remember(batch, &named, server.now_us());
    }
    let audit = AuditEntry {
        action: "job.claim".to_owned(),
        target_kind: "job".to_owned(),
        target_id: job.id.to_string(),
        detail: json!({
            "factory_id": factory.id,
            "lease_epoch": claimed.lease_epoch,
            "preempted": taken.victim.flatten().map(|victim| victim.id),
        }),
    };
    let reply = view::claimed(&shown, taken.body, taken.explanation);
    let made = reply.map(|reply| (batch.audit(&audit).respond(&reply), reply));
    Some(made.map_err(PlacementError::from))
}

/// It is not there to be claimed.
pub fn not_queued(job: &Job) -> PlacementError {
    let (actor, event) = (Actor::System, Event::Claim);
    let from = job.stage;
    PlacementError::from(InvalidTransition { from, actor, event })
}

fn claimed(
    server: &Server,
    settings: &Settings,
    claim: &Claim,
    factory_id: Uuid,
    job: &Job,
) -> Result<Job, InvalidTransition> {
    let mut claimed = after(job, Actor::System, Event::Claim, server.now_us())?;
    let lease_us = i64::from(settings.placement.job_lease_seconds).saturating_mul(1_000_000);
    claimed.lease = Some(Lease {
        factory_id,
        claim_id: claim.claim_id.clone(),
        claimed_at_us: server.now_us(),
        expires_lease_us: server.lease_us().saturating_add(lease_us),
    });
    Ok(claimed)
}

fn take(batch: Batch, server: &Server, job: &Job, claimed: &Job, factory: &Factory) -> Batch {
    let told = Told {
        kind: Event::Claim.kind(),
        actor: format!("factory:{}", factory.id),
        data: json!({"factory_id": factory.id, "lease_epoch": claimed.lease_epoch}),
    };
    change::claim(batch, job, claimed, factory, server.lease_us(), &told)
}

/// None: it has ended or moved on in between.
fn evict(batch: Batch, server: &Server, victim: &Job, preemptor: Uuid) -> Option<Batch> {
    let evicted = after(victim, Actor::System, Event::Preempt, server.now_us()).ok()?;
    let told = preempted(victim.id, preemptor, &evicted);
    Some(change::update(batch, victim, &evicted, &told))
}

fn preempted(victim: Uuid, preemptor: Uuid, after: &Job) -> Told {
    Told {
        kind: Event::Preempt.kind(),
        actor: "module:placement".to_owned(),
        data: json!({
            "victim": victim,
            "preemptor": preemptor,
            "checkpoint": true,
            "lease_epoch": after.lease_epoch,
        }),
    }
}
