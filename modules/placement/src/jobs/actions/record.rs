//! What a holder records of its job: what it made, and each attempt. Fenced like a report, and renews the lease like one.

use fleetwright_plugin_api::sdk::{Batch, CallContext, Reply, Server};
use serde_json::json;
use uuid::Uuid;

use super::super::decide;
use super::super::job::Job;
use super::super::request::Recorded;
use super::super::store::change;
use super::super::store::records::{self, Record};
use super::{alive, audit, commit, event, lease_end_us, visible};
use crate::error::{ATTEMPTS_MAX, PlacementError};
use crate::jobs::view;

/// What is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Artifact,
    Run,
}

/// Records it, and gives it as it is kept.
pub async fn record(
    server: &Server,
    context: &CallContext,
    id: Uuid,
    what: What,
    asked: &Recorded,
) -> Result<Reply, PlacementError> {
    for _ in 0..ATTEMPTS_MAX {
        let job = visible(server, context, id).await?;
        decide::held(&job, asked.lease_epoch, asked.factory_id)?;
        let Some(factory_id) = job.lease.as_ref().map(|lease| lease.factory_id) else {
            return Err(PlacementError::NotFound("job"));
        };
        let after = decide::renewed(decide::touched(&job, server.now_us()), lease_end_us(server));
        let known = match what {
            What::Artifact => records::artifact(server.db(), id, &asked.name).await?,
            What::Run => None,
        };
        let record_id = known.unwrap_or_else(|| server.new_id());
        let kept = kept(record_id, factory_id, &after, asked);
        let kind = match what {
            What::Artifact => "artifact",
            What::Run => "run",
        };
        let data = json!({"id": record_id, "name": asked.name});
        let told = event(kind, format!("factory:{factory_id}"), data.clone());
        let batch = change::update(Batch::new(), &job, &after, &told);
        let (batch, reply) = match what {
            What::Artifact => (
                records::put_artifact(batch, record_id, &after, asked),
                Reply::json(201, &view::artifact(kept))?,
            ),
            What::Run => (
                records::insert_run(batch, record_id, &after, factory_id, asked),
                Reply::json(201, &view::run(kept))?,
            ),
        };
        let batch = alive(server, batch, &job)
            .audit(&audit(&format!("job.{kind}"), &job, &after, data))
            .respond(&reply);
        if commit(server, context, batch).await? {
            return Ok(reply);
        }
    }
    Err(PlacementError::Contended)
}

fn kept(id: Uuid, factory_id: Uuid, job: &Job, asked: &Recorded) -> Record {
    Record {
        id,
        lease_epoch: job.lease_epoch,
        name: asked.name.clone(),
        // It was written as JSON when it was read.
        data: serde_json::from_str(&asked.data).unwrap_or_default(),
        recorded_at_us: job.updated_at_us,
        factory_id: Some(factory_id),
        started_at_us: asked.started_at_us,
        ended_at_us: asked.ended_at_us,
    }
}
