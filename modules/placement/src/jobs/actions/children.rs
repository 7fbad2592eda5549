//! Adds jobs that another is to wait for: by an operator before it is begun, or by its holder, who gives it up and says where
//! it stood.

use std::collections::{HashMap, HashSet};

use fleetwright_plugin_api::sdk::{Batch, CallContext, Problem, Reply, Server};
use serde_json::json;
use uuid::Uuid;

use super::super::decide::submit::{NODES_MAX, nodes};
use super::super::decide::{self, Actor, Event};
use super::super::job::{Brief, Job};
use super::super::request::{Draft, NewChildren};
use super::super::store::{self, change, edges, trees};
use super::submit::{added, answer, check_size, named, prepare, reused, shown, submitter, write};
use super::{audit, event, visible};
use crate::error::{ATTEMPTS_MAX, PlacementError};

/// Adds them, and gives the parent with what was added. Those that are there already, as they are asked for, are not added
/// again.
pub async fn add(
    server: &Server,
    context: &CallContext,
    id: Uuid,
    asked: &NewChildren,
) -> Result<Reply, PlacementError> {
    check_size(&asked.children, 1)?;
    for _ in 0..ATTEMPTS_MAX {
        let parent = visible(server, context, id).await?;
        let (drafts, places, there) = missing(server, &parent, asked).await?;
        if drafts.is_empty() {
            let there: Vec<_> = there.iter().map(crate::jobs::view::node).collect();
            return answer(200, &parent, &there);
        }
        let actor = match asked.lease_epoch {
            Some(lease_epoch) => {
                decide::lease_at(&parent, lease_epoch, asked.factory_id)?;
                Actor::Holder
            }
            None => Actor::Operator,
        };
        let now_us = server.now_us();
        let mut after = decide::after(&parent, actor, Event::AddChildren, now_us)?;
        let tree = Tree::of(server, id).await?;
        check_size(&drafts, tree.size())?;
        let by = submitter(server, context, &parent.tenant_id);
        let mut ids = std::iter::from_fn(|| Some(server.new_id()));
        let place = |index: usize| {
            let place = places.get(index).copied().unwrap_or(index);
            format!("/children/{place}")
        };
        let nodes = nodes(&drafts, Some(id), place, &mut ids);
        let known = named(server, context, &nodes, &by.tenant_id).await?;
        let bond = Bond::between(server, id, &by.tenant_id, &known).await?;
        let above = |other: Uuid| {
            bond.as_ref()
                .is_some_and(|bond| bond.waiting.contains(&other))
        };
        let new = prepare(server, &nodes, known, &above, &by).await?;
        let count = i64::try_from(drafts.len()).unwrap_or(i64::MAX);
        after.waits_for = after.waits_for.saturating_add(count);
        after.checkpoint = asked.checkpoint.clone().or(after.checkpoint);
        let reply = answer(201, &after, &shown(&new.planned.jobs, id))?;
        let more = json!({"children": drafts.len(), "jobs": new.planned.jobs.len()});
        let told = match (&parent.lease, actor) {
            (Some(lease), Actor::Holder) => format!("factory:{}", lease.factory_id),
            _ => context.principal.clone(),
        };
        let told = event(Event::AddChildren.kind(), told, more.clone());
        // What several wait for comes first, in one order.
        let batch = match bond {
            Some(bond) => trees::connect(Batch::new(), &by.tenant_id, bond.generation),
            None => Batch::new(),
        };
        let batch = tree.grown(batch, new.planned.jobs.len());
        let batch = change::update(batch, &parent, &after, &told);
        let batch = write(batch, context, &new)
            .audit(&audit("job.children", &parent, &after, more))
            .respond(&reply);
        if added(server, context, batch).await? {
            return Ok(reply);
        }
    }
    Err(PlacementError::Contended)
}

/// The tree that grows.
struct Tree {
    root_id: Uuid,
    /// None: it is a job alone.
    jobs: Option<i64>,
}

impl Tree {
    async fn of(server: &Server, id: Uuid) -> Result<Self, PlacementError> {
        let root_id = trees::root(server.db(), id).await?;
        let jobs = trees::jobs(server.db(), root_id).await?;
        Ok(Self { root_id, jobs })
    }

    fn size(&self) -> usize {
        usize::try_from(self.jobs.unwrap_or(1)).unwrap_or(usize::MAX)
    }

    fn grown(&self, batch: Batch, by: usize) -> Batch {
        let after = i64::try_from(self.size().saturating_add(by)).unwrap_or(i64::MAX);
        trees::grow(batch, self.root_id, self.jobs, after)
    }
}

/// What has to stay so while jobs that are there come to wait for others that are there. Two that do so at once could close a
/// circle that neither of them sees.
struct Bond {
    generation: Option<i64>,
    /// The parent and all that wait for it.
    waiting: HashSet<Uuid>,
}

impl Bond {
    /// The generation is read first, and after what is named: what somebody else adds since then is seen, or else refuses the
    /// batch. Whoever names nobody closes no circle.
    async fn between(
        server: &Server,
        parent_id: Uuid,
        tenant_id: &str,
        known: &HashMap<String, Job>,
    ) -> Result<Option<Self>, PlacementError> {
        if known.is_empty() {
            return Ok(None);
        }
        let generation = trees::generation(server.db(), tenant_id).await?;
        let waiting = ancestors(server, parent_id).await?;
        Ok(Some(Self {
            generation,
            waiting,
        }))
    }
}

/// Those that are not there yet with their places in the request, and those that are.
async fn missing(
    server: &Server,
    parent: &Job,
    asked: &NewChildren,
) -> Result<(Vec<Draft>, Vec<usize>, Vec<Brief>), PlacementError> {
    let keys: Vec<&str> = asked
        .children
        .iter()
        .map(|draft| draft.idempotency_key.as_str())
        .collect();
    let mut known = store::by_keys(server.db(), &parent.tenant_id, &keys).await?;
    let (mut drafts, mut places, mut there, mut wrong) = (vec![], vec![], vec![], vec![]);
    for (index, draft) in asked.children.iter().enumerate() {
        match known.remove(&draft.idempotency_key) {
            None => {
                drafts.push(draft.clone());
                places.push(index);
            }
            Some(job)
                if job.parent_id == Some(parent.id) && job.request_digest == draft.digest() =>
            {
                there.push(job);
            }
            Some(_) => wrong.push(reused(&format!("/children/{index}"))),
        }
    }
    if wrong.is_empty() {
        Ok((drafts, places, there))
    } else {
        Err(Problem::invalid(wrong).into())
    }
}

/// The job and all that wait for it. They can be more than a tree has, since everybody may wait for one job; a circle must
/// never be missed, so that nothing is added where they are too many to look at.
async fn ancestors(server: &Server, id: Uuid) -> Result<HashSet<Uuid>, PlacementError> {
    let (mut seen, mut open) = (HashSet::from([id]), vec![id]);
    while !open.is_empty() {
        let above = edges::above(server.db(), &open, NODES_MAX).await?;
        let is_cut = above.is_none();
        let above = above.unwrap_or_default().into_iter();
        open = above.filter(|id| seen.insert(*id)).collect();
        if is_cut || seen.len() > NODES_MAX {
            let detail = format!(
                "More than {NODES_MAX} jobs wait for this one: what is added to it can wait for no job that is there."
            );
            return Err(Problem::invalid_field("/children", "job-graph-too-large", detail).into());
        }
    }
    Ok(seen)
}
