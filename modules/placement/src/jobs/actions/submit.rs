//! Submits jobs: a tree of them at once, all or nothing. One key creates one job.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fleetwright_plugin_api::sdk::{
    Batch, CallContext, Cell, Problem, Reply, Server, ServerError, Violation, hyphenated,
};
use serde_json::json;
use uuid::Uuid;

use super::super::decide::submit::{NODES_MAX, Node, Planned, Submitter, nodes, plan, size};
use super::super::decide::touched;
use super::super::job::{Checkpoint, Job};
use super::super::request::{DEPENDENCIES_MAX, Draft};
use super::super::stage::Stage;
use super::super::store::change::{self, in_steps};
use super::super::store::{self, edges, trees};
use super::{audit, event, is_visible};
use crate::error::{ATTEMPTS_MAX, PlacementError};
use crate::jobs::view::{self, DagNode, SubmittedView};

/// Children shown in an answer.
const CHILDREN_SHOWN: usize = 1_000;

/// Submits a job with its children.
pub async fn submit(
    server: &Server,
    context: &CallContext,
    draft: Draft,
) -> Result<Reply, PlacementError> {
    let drafts = [draft];
    check_size(&drafts, 0)?;
    let [root] = &drafts;
    let tenant_id = context.tenant.clone().unwrap_or_default();
    for _ in 0..ATTEMPTS_MAX {
        let key = [root.idempotency_key.as_str()];
        let known = store::by_keys(server.db(), &tenant_id, &key).await?;
        if let Some(known) = known.get(&root.idempotency_key) {
            if known.request_digest != root.digest() {
                return Err(Problem::invalid(vec![reused("")]).into());
            }
            return answer(200, known, &[]);
        }
        let by = submitter(server, context, &tenant_id);
        let mut ids = std::iter::from_fn(|| Some(server.new_id()));
        let nodes = nodes(&drafts, None, |_| String::new(), &mut ids);
        let known = named(server, context, &nodes, &tenant_id).await?;
        // Nobody waits for what is new, so that it closes no circle.
        let new = prepare(server, &nodes, known, &|_| false, &by).await?;
        let Some(job) = new.planned.jobs.first() else {
            return Err(PlacementError::Contended);
        };
        let children = shown(&new.planned.jobs, job.id);
        let reply = answer(201, job, &children)?
            .with_header("location", format!("/api/v1/fleet/jobs/{}", job.id));
        let more = json!({"idempotency_key": job.idempotency_key, "jobs": new.planned.jobs.len()});
        let batch = match i64::try_from(new.planned.jobs.len()) {
            Ok(jobs) if jobs > 1 => trees::grow(Batch::new(), job.id, None, jobs),
            Ok(_) | Err(_) => Batch::new(),
        };
        let batch = write(batch, context, &new)
            .audit(&audit("job.submit", job, job, more))
            .respond(&reply);
        if added(server, context, batch).await? {
            return Ok(reply);
        }
    }
    Err(PlacementError::Contended)
}

/// What is to be added, and whom it waits for.
pub struct New {
    pub planned: Planned,
    /// Jobs that are there and will be waited for: if one of them changes, all is decided again.
    waited_for: Vec<Job>,
    now_us: i64,
}

/// Plans the nodes against what is stored; `known` are those that they name.
pub async fn prepare(
    server: &Server,
    nodes: &[Node<'_>],
    known: HashMap<String, Job>,
    above: &(dyn Fn(Uuid) -> bool + Sync),
    by: &Submitter,
) -> Result<New, PlacementError> {
    let keys: Vec<&str> = nodes
        .iter()
        .map(|node| node.draft.idempotency_key.as_str())
        .collect();
    let taken = store::by_keys(server.db(), &by.tenant_id, &keys).await?;
    let mut found: Vec<Violation> = nodes
        .iter()
        .filter(|node| taken.contains_key(&node.draft.idempotency_key))
        .map(|node| reused(&node.pointer))
        .collect();
    let others = known
        .iter()
        .map(|(name, job)| (name.clone(), (job.id, job.stage)))
        .collect();
    match plan(nodes, &others, &above, by) {
        Ok(planned) if found.is_empty() => {
            let used: BTreeMap<Uuid, Job> = known
                .into_values()
                // What has shipped stays so.
                .filter(|job| job.stage != Stage::Shipped)
                .map(|job| (job.id, job))
                .collect();
            Ok(New {
                planned,
                waited_for: used.into_values().collect(),
                now_us: by.now_us,
            })
        }
        Ok(_) => Err(Problem::invalid(found).into()),
        Err(more) => {
            found.extend(more);
            Err(Problem::invalid(found).into())
        }
    }
}

/// Jobs that are there and that the nodes name, by id or key, as they name them. What a tenant's job waits for is the tenant's.
pub async fn named(
    server: &Server,
    context: &CallContext,
    nodes: &[Node<'_>],
    tenant_id: &str,
) -> Result<HashMap<String, Job>, PlacementError> {
    let own: BTreeSet<&str> = nodes
        .iter()
        .map(|node| node.draft.idempotency_key.as_str())
        .collect();
    let names: BTreeSet<&str> = nodes
        .iter()
        .flat_map(|node| node.draft.depends_on.iter().map(String::as_str))
        .filter(|name| !own.contains(name))
        .collect();
    if names.len() > DEPENDENCIES_MAX {
        let detail = format!(
            "The jobs name {} others; at most {DEPENDENCIES_MAX}.",
            names.len()
        );
        return Err(Problem::unprocessable("job-dependencies-invalid", detail).into());
    }
    let ids: BTreeMap<Uuid, &str> = names
        .iter()
        .filter_map(|name| Some((hyphenated(name)?, *name)))
        .collect();
    let keys: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| hyphenated(name).is_none())
        .collect();
    let by_key = store::by_keys(server.db(), tenant_id, &keys).await?;
    let mut wanted: Vec<Uuid> = ids.keys().copied().collect();
    wanted.extend(by_key.values().map(|job| job.id));
    let jobs = store::jobs(server.db(), &wanted).await?;
    let mut found = HashMap::new();
    let own = |job: &Job| job.tenant_id == tenant_id && is_visible(context, job);
    for job in jobs.into_iter().filter(own) {
        if let Some(name) = ids.get(&job.id) {
            found.insert((*name).to_owned(), job.clone());
        }
        if keys.contains(&job.idempotency_key.as_str()) && by_key.contains_key(&job.idempotency_key)
        {
            found.insert(job.idempotency_key.clone(), job);
        }
    }
    Ok(found)
}

/// Adds all of it.
pub fn write(batch: Batch, context: &CallContext, new: &New) -> Batch {
    let submitted = event("submitted", context.principal.as_str(), json!({}));
    let batch = change::insert_all(batch, &new.planned.jobs, &submitted);
    let bodies: Vec<Cell> = new
        .planned
        .bodies
        .iter()
        .flat_map(|(id, body)| [Cell::from(*id), body.as_str().into()])
        .collect();
    let batch = in_steps(batch, store::INSERT_BODIES, 2, &bodies);
    let batch = edges::insert(batch, &new.planned.waits);
    let told = event("depended_on", context.principal.as_str(), json!({}));
    new.waited_for.iter().fold(batch, |batch, job| {
        change::update(batch, job, &touched(job, new.now_us), &told)
    })
}

/// Writes it. False: something is not so any more, or somebody else was faster with a key.
pub async fn added(
    server: &Server,
    context: &CallContext,
    batch: Batch,
) -> Result<bool, PlacementError> {
    match server.db().commit(context, batch).await {
        Ok(()) => Ok(true),
        Err(ServerError::Guard { .. } | ServerError::Constraint { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A tree has an end.
pub fn check_size(drafts: &[Draft], there: usize) -> Result<(), PlacementError> {
    let nodes = size(drafts).saturating_add(there);
    if nodes <= NODES_MAX {
        return Ok(());
    }
    let detail = format!("The tree would have {nodes} jobs; at most {NODES_MAX}.");
    Err(Problem::invalid_field("/children", "job-children-too-many", detail).into())
}

pub fn submitter(server: &Server, context: &CallContext, tenant_id: &str) -> Submitter {
    Submitter {
        tenant_id: tenant_id.to_owned(),
        principal: context.principal.clone(),
        principal_name: context.principal_name.clone(),
        now_us: server.now_us(),
    }
}

/// The children of one of the jobs, as an answer shows them.
pub fn shown(jobs: &[Job], parent_id: Uuid) -> Vec<DagNode> {
    let children = jobs.iter().filter(|job| job.parent_id == Some(parent_id));
    children.take(CHILDREN_SHOWN).map(view::node).collect()
}

pub fn answer<C: Checkpoint>(
    status: u16,
    job: &Job<C>,
    children: &[DagNode],
) -> Result<Reply, PlacementError> {
    let submitted = SubmittedView {
        job: view::job(job),
        children: children.to_vec(),
    };
    let reply = Reply::json(status, &submitted)?;
    Ok(reply.with_header("etag", format!("\"{}\"", job.revision)))
}

pub fn reused(pointer: &str) -> Violation {
    let detail = "Another job with another body has this key.";
    let pointer = format!("{pointer}/idempotency_key");
    Violation::new(pointer, "idempotency-key-reused", detail)
}
