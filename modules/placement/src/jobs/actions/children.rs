//! Adds jobs that another is to wait for: by an operator before it is begun, or by its holder, who gives it up and says where
//! it stood.

use std::collections::HashSet;

use fleetwright_plugin_api::sdk::{Batch, CallContext, Problem, Reply, Server};
use serde_json::json;
use uuid::Uuid;

use super::super::decide::submit::{NODES_MAX, nodes};
use super::super::decide::{self, Actor, Event};
use super::super::job::{Brief, Job};
use super::super::request::{Draft, NewChildren};
use super::super::store::{self, change, edges};
use super::submit::{added, answer, check_size, prepare, reused, shown, submitter, write};
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
        let below = subtree(server, id).await?;
        check_size(&drafts, below.len())?;
        let waiting = ancestors(server, id).await?;
        let by = submitter(server, context, &parent.tenant_id);
        let mut ids = std::iter::from_fn(|| Some(server.new_id()));
        let place = |index: usize| {
            let place = places.get(index).copied().unwrap_or(index);
            format!("/children/{place}")
        };
        let nodes = nodes(&drafts, Some(id), place, &mut ids);
        let above = |other: Uuid| waiting.contains(&other);
        let new = prepare(server, context, &nodes, &above, &by).await?;
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
        let batch = change::update(Batch::new(), &parent, &after, &told);
        let batch = write(batch, context, &new)
            .audit(&audit("job.children", &parent, &after, more))
            .respond(&reply);
        if added(server, context, batch).await? {
            return Ok(reply);
        }
    }
    Err(PlacementError::Contended)
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

/// The job and all it waits for.
async fn subtree(server: &Server, id: Uuid) -> Result<HashSet<Uuid>, PlacementError> {
    let (mut seen, mut open) = (HashSet::from([id]), vec![id]);
    while !open.is_empty() && seen.len() <= NODES_MAX {
        let below = edges::below(server.db(), &open, NODES_MAX).await?;
        let below = below.into_iter().map(|one| one.dependency_id);
        open = below.filter(|id| seen.insert(*id)).collect();
    }
    Ok(seen)
}

/// The job and all that wait for it.
async fn ancestors(server: &Server, id: Uuid) -> Result<HashSet<Uuid>, PlacementError> {
    let (mut seen, mut open) = (HashSet::from([id]), vec![id]);
    while !open.is_empty() && seen.len() <= NODES_MAX {
        let above = edges::above(server.db(), &open).await?;
        open = above.into_iter().filter(|id| seen.insert(*id)).collect();
    }
    Ok(seen)
}
