//! What can be done with jobs. Each action decides on what is stored and writes its outcome on the condition that it still
//! is; one that lost against another decides again.

pub mod children;
pub mod operate;
pub mod read;
pub mod record;
pub mod report;
pub mod settle;
pub mod submit;
pub mod waive;

use fleetwright_plugin_api::sdk::{
    AuditEntry, Batch, CallContext, Problem, Reply, Server, ServerError,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::decide::{InvalidTransition, NotReported, StaleLease};
use super::job::{Checkpoint, Job};
use super::store;
use super::store::change::Event;
use super::view;
use crate::error::PlacementError;
use crate::factories::store as factories;
use crate::settings::Settings;

/// The job, if it is there and the caller may see it.
pub async fn visible(
    server: &Server,
    context: &CallContext,
    id: Uuid,
) -> Result<Job, PlacementError> {
    let job = store::job(server.db(), id).await?;
    job.filter(|job| is_visible(context, job))
        .ok_or(PlacementError::NotFound("job"))
}

/// A tenant sees its own; others see all.
pub fn is_visible<C: Checkpoint>(context: &CallContext, job: &Job<C>) -> bool {
    let tenant = context.tenant.as_deref();
    tenant.is_none_or(|tenant| tenant == job.tenant_id)
}

/// Writes the batch. False: it was decided on something that is not so any more.
async fn commit(
    server: &Server,
    context: &CallContext,
    batch: Batch,
) -> Result<bool, PlacementError> {
    match server.db().commit(context, batch).await {
        Ok(()) => Ok(true),
        Err(ServerError::Guard { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whatever the holder of a job says is a sign of its factory's life.
fn alive(server: &Server, batch: Batch, job: &Job) -> Batch {
    match &job.lease {
        Some(lease) => {
            let seen = factories::seen(lease.factory_id, server.lease_us(), server.now_us());
            batch.sql(seen)
        }
        None => batch,
    }
}

/// When a lease that is renewed now runs out.
fn lease_end_us(server: &Server) -> i64 {
    let seconds = Settings::of(server).placement.job_lease_seconds;
    let lease_us = i64::from(seconds).saturating_mul(1_000_000);
    server.lease_us().saturating_add(lease_us)
}

fn reply(status: u16, job: &Job) -> Result<Reply, PlacementError> {
    let reply = Reply::json(status, &view::job(job))?;
    Ok(reply.with_header("etag", format!("\"{}\"", job.revision)))
}

fn event(kind: &'static str, actor: impl Into<String>, data: Value) -> Event {
    Event {
        kind,
        actor: actor.into(),
        data,
    }
}

fn audit(action: &str, before: &Job, after: &Job, more: Value) -> AuditEntry {
    AuditEntry {
        action: action.to_owned(),
        target_kind: "job".to_owned(),
        target_id: after.id.to_string(),
        detail: json!({
            "from": before.stage.as_str(),
            "to": after.stage.as_str(),
            "lease_epoch": after.lease_epoch,
            "revision": after.revision,
            "detail": more,
        }),
    }
}

impl From<InvalidTransition> for PlacementError {
    fn from(why: InvalidTransition) -> Self {
        let problem = Problem::invalid_transition(format!("{why}."));
        Self::Refused(problem.with_extension("stage", why.from.as_str()))
    }
}

impl From<StaleLease> for PlacementError {
    fn from(why: StaleLease) -> Self {
        let detail = "The lease is not the job's any more, or it is another factory's.";
        let problem = Problem::conflict("stale-lease", detail);
        Self::Refused(problem.with_extension("lease_epoch", why.current))
    }
}

impl From<NotReported> for PlacementError {
    fn from(why: NotReported) -> Self {
        match why {
            NotReported::Stale(why) => why.into(),
            NotReported::Invalid(why) => why.into(),
        }
    }
}
