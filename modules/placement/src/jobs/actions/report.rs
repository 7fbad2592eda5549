//! What a holder says of its job: its next stage, or only that it goes on. Fenced by the epoch of its lease; renews it.

use fleetwright_plugin_api::sdk::{Batch, CallContext, Reply, Server};
use serde_json::json;
use uuid::Uuid;

use super::super::decide::settle::Settling;
use super::super::decide::{self, Actor, InvalidTransition, NotReported};
use super::super::job::Job;
use super::super::request::Report;
use super::super::stage::Stage;
use super::super::store::change;
use super::{alive, audit, commit, event, lease_end_us, reply, settle, visible};
use crate::error::{ATTEMPTS_MAX, PlacementError};
use fleetwright_plugin_api::sdk::Problem;

/// Takes the report, and gives the job as it is then.
pub async fn report(
    server: &Server,
    context: &CallContext,
    id: Uuid,
    report: &Report,
) -> Result<Reply, PlacementError> {
    for _ in 0..ATTEMPTS_MAX {
        let job = visible(server, context, id).await?;
        let (after, kind) = decided(&job, report, server.now_us())?;
        let after = decide::renewed(after, lease_end_us(server));
        let mut settling = Settling::default();
        if after.stage == Stage::Shipped {
            settle::follow(server, &mut settling, id).await?;
        }
        let actor = job.lease.as_ref().map_or_else(
            || context.principal.clone(),
            |lease| format!("factory:{}", lease.factory_id),
        );
        let data = json!({"reason": report.reason, "lease_epoch": report.lease_epoch});
        let batch = change::update(Batch::new(), &job, &after, &event(kind, actor, data));
        let reply = reply(200, &after)?;
        let batch = alive(server, settle::write(batch, &settling, None), &job)
            .audit(&audit("job.report", &job, &after, json!({})))
            .respond(&reply);
        if commit(server, context, batch).await? {
            return Ok(reply);
        }
    }
    Err(PlacementError::Contended)
}

/// The job after the report, and what kind of event that is.
fn decided(job: &Job, report: &Report, now_us: i64) -> Result<(Job, &'static str), PlacementError> {
    let lease = decide::lease_at(job, report.lease_epoch, report.factory_id);
    lease.map_err(NotReported::Stale)?;
    let stage = report.stage.or(report.release.then_some(Stage::Review));
    let Some(stage) = stage else {
        decide::held(job, report.lease_epoch, report.factory_id)?;
        let mut after = decide::touched(job, now_us);
        after.reason = report.reason.clone().or(after.reason);
        after.checkpoint = report.checkpoint.clone().or(after.checkpoint);
        return Ok((after, "renewed"));
    };
    let Some(event) = decide::reported(stage, report.release) else {
        let detail = format!(
            "A holder cannot make a job that is {} {}.",
            job.stage.as_str(),
            stage.as_str()
        );
        let problem = Problem::invalid_transition(detail);
        return Err(problem.with_extension("stage", job.stage.as_str()).into());
    };
    let after: Result<Job, InvalidTransition> = decide::after(job, Actor::Holder, event, now_us);
    let mut after = after?;
    after.reason = report.reason.clone();
    after.checkpoint = report.checkpoint.clone().or(after.checkpoint);
    Ok((after, event.kind()))
}
