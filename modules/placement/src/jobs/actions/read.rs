//! Reads jobs. Nothing is counted.

use std::collections::{HashMap, HashSet};

use fleetwright_plugin_api::sdk::{CallContext, Server};
use uuid::Uuid;

use super::super::decide::submit::NODES_MAX;
use super::super::job::Brief;
use super::super::store::{self, edges, records};
use super::super::view::{self, Dag, JobDetail};
use super::{is_visible, visible};
use crate::error::PlacementError;

const DEPENDENCIES_SHOWN: i64 = 100;
const BLOCKERS_SHOWN: i64 = 10;
const EVENTS_SHOWN: i64 = 50;
const RUNS_SHOWN: i64 = 50;
const ARTIFACTS_SHOWN: i64 = 100;
/// Edges shown of one graph: five for each node that it may have.
const EDGES_SHOWN: usize = 50_000;

/// A job with all that is told of it. A blocked one says what of those it waits for has ended without shipping.
pub async fn detail(
    server: &Server,
    context: &CallContext,
    id: Uuid,
) -> Result<JobDetail, PlacementError> {
    let db = server.db();
    let mut job = visible(server, context, id).await?;
    let dependencies = edges::of_job(db, id, DEPENDENCIES_SHOWN).await?;
    let blockers = edges::failed(db, id, BLOCKERS_SHOWN).await?;
    let mut ids: Vec<Uuid> = dependencies.iter().map(|one| one.dependency_id).collect();
    ids.extend(&blockers);
    let known = store::briefly(db, &ids).await?;
    let known: HashMap<Uuid, Brief> = known.into_iter().map(|job| (job.id, job)).collect();
    let blocked_by: Vec<&Brief> = blockers.iter().filter_map(|id| known.get(id)).collect();
    if job.reason.is_none()
        && let Some(first) = blocked_by.first()
    {
        job.reason = Some(format!(
            "It waits for {}, which is {}: requeue that one, or waive it.",
            first.idempotency_key,
            first.stage.as_str()
        ));
    }
    let events = records::latest_events(db, id, EVENTS_SHOWN).await?;
    let runs = records::runs(db, id, RUNS_SHOWN).await?;
    let artifacts = records::artifacts(db, id, ARTIFACTS_SHOWN).await?;
    Ok(JobDetail {
        job: view::job(&job),
        body_md: store::body(db, id).await?,
        checkpoint: job.checkpoint,
        blocked_by: blocked_by.into_iter().map(view::node).collect(),
        dependencies: dependencies
            .iter()
            .map(|one| view::dependency(one, known.get(&one.dependency_id)))
            .collect(),
        events: events.into_iter().map(view::event).collect(),
        runs: runs.into_iter().map(view::run).collect(),
        artifacts: artifacts.into_iter().map(view::artifact).collect(),
    })
}

/// A job and all it waits for.
pub async fn dag(server: &Server, context: &CallContext, id: Uuid) -> Result<Dag, PlacementError> {
    visible(server, context, id).await?;
    let mut nodes = store::briefly(server.db(), &[id]).await?;
    let mut found = Vec::new();
    let (mut seen, mut open) = (HashSet::from([id]), vec![id]);
    let mut truncated = false;
    while !open.is_empty() {
        let room = EDGES_SHOWN.saturating_sub(found.len());
        let below = edges::below(server.db(), &open, room + 1).await?;
        truncated |= below.len() > room;
        let below: Vec<_> = below.into_iter().take(room).collect();
        let next: Vec<Uuid> = below
            .iter()
            .map(|one| one.dependency_id)
            .filter(|id| seen.insert(*id))
            .collect();
        let left = NODES_MAX.saturating_sub(nodes.len());
        truncated |= next.len() > left;
        let next: Vec<Uuid> = next.into_iter().take(left).collect();
        let jobs = store::briefly(server.db(), &next).await?;
        nodes.extend(jobs.into_iter().filter(|job| is_visible(context, job)));
        found.extend(below);
        open = next;
    }
    let shown: HashSet<Uuid> = nodes.iter().map(|job| job.id).collect();
    Ok(Dag {
        root: id,
        edges: found
            .iter()
            .filter(|one| shown.contains(&one.job_id) && shown.contains(&one.dependency_id))
            .map(view::edge)
            .collect(),
        nodes: nodes.iter().map(view::node).collect(),
        truncated,
    })
}
