//! What is made of a submission: a job for each node of the tree, what each waits for, and where it begins. Pure; ids and
//! what is known of others come in.

use std::collections::{HashMap, HashSet};

use fleetwright_plugin_api::sdk::Violation;
use uuid::Uuid;

use super::super::job::Job;
use super::super::request::Draft;
use super::super::stage::Stage;

/// Nodes of one tree, as the API promises.
pub const NODES_MAX: usize = 10_000;

/// Who submits, and when.
#[derive(Clone, Debug)]
pub struct Submitter {
    pub tenant_id: String,
    pub principal: String,
    pub principal_name: String,
    pub now_us: i64,
}

/// What one node waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    pub job_id: Uuid,
    pub dependency_id: Uuid,
    pub child: bool,
    pub settled: bool,
}

/// What is to be stored.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// Parents before their children, so the first is the root.
    pub jobs: Vec<Job>,
    pub bodies: Vec<(Uuid, String)>,
    pub waits: Vec<Waits>,
}

/// A node of the tree with its place.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    pub draft: &'a Draft,
    pub id: Uuid,
    pub parent_id: Option<Uuid>,
    /// A JSON pointer.
    pub pointer: String,
}

/// How many nodes these are.
pub fn size(drafts: &[Draft]) -> usize {
    let below = drafts.iter().map(|draft| 1 + size(&draft.children));
    below.sum()
}

/// The nodes, parents first. `ids` has one for each.
pub fn nodes<'a>(
    drafts: &'a [Draft],
    parent_id: Option<Uuid>,
    place: impl Fn(usize) -> String,
    ids: &mut impl Iterator<Item = Uuid>,
) -> Vec<Node<'a>> {
    let mut found = Vec::new();
    let mut open: Vec<(Option<Uuid>, String, &'a Draft)> = drafts
        .iter()
        .enumerate()
        .rev()
        .map(|(index, draft)| (parent_id, place(index), draft))
        .collect();
    while let Some((parent_id, pointer, draft)) = open.pop() {
        let Some(id) = ids.next() else {
            return found;
        };
        for (index, child) in draft.children.iter().enumerate().rev() {
            open.push((Some(id), format!("{pointer}/children/{index}"), child));
        }
        found.push(Node {
            draft,
            id,
            parent_id,
            pointer,
        });
    }
    found
}

/// The jobs of the nodes. `others` are what is known of jobs that are there, by what the nodes name them (id or key); a
/// job that has shipped is not waited for. `above` wait for the parent: to wait for them is a circle.
pub fn plan(
    nodes: &[Node<'_>],
    others: &HashMap<String, (Uuid, Stage)>,
    above: &dyn Fn(Uuid) -> bool,
    by: &Submitter,
) -> Result<Planned, Vec<Violation>> {
    let mut found = Vec::new();
    let keys = keys(nodes, &mut found);
    let children = nodes.iter().filter_map(|node| {
        Some(Waits {
            job_id: node.parent_id?,
            dependency_id: node.id,
            child: true,
            settled: false,
        })
    });
    let mut waits: Vec<Waits> = children.collect();
    // Children are waited for anyway, and naming somebody twice is naming them.
    let mut pairs: HashSet<(Uuid, Uuid)> = waits
        .iter()
        .map(|one| (one.job_id, one.dependency_id))
        .collect();
    for node in nodes {
        for (index, name) in node.draft.depends_on.iter().enumerate() {
            let pointer = format!("{}/depends_on/{index}", node.pointer);
            let (dependency_id, settled) = match (keys.get(name.as_str()), others.get(name)) {
                (Some(id), _) => (*id, false),
                (None, Some((id, stage))) => (*id, *stage == Stage::Shipped),
                (None, None) => {
                    let detail = "There is no such job.";
                    found.push(Violation::new(pointer, "job-dependency-unknown", detail));
                    continue;
                }
            };
            if above(dependency_id) {
                let detail = "That job waits for this one: they would wait for each other.";
                found.push(Violation::new(pointer, "job-cycle", detail));
            } else if pairs.insert((node.id, dependency_id)) {
                waits.push(Waits {
                    job_id: node.id,
                    dependency_id,
                    child: false,
                    settled,
                });
            }
        }
    }
    if let Some(node) = in_a_circle(nodes, &waits) {
        let detail = "These jobs would wait for each other.";
        let pointer = format!("{}/depends_on", node.pointer);
        found.push(Violation::new(pointer, "job-cycle", detail));
    }
    if found.is_empty() {
        Ok(planned(nodes, waits, by))
    } else {
        Err(found)
    }
}

fn keys<'a>(nodes: &'a [Node<'_>], found: &mut Vec<Violation>) -> HashMap<&'a str, Uuid> {
    let mut keys = HashMap::new();
    for node in nodes {
        let key = node.draft.idempotency_key.as_str();
        if keys.insert(key, node.id).is_some() {
            let pointer = format!("{}/idempotency_key", node.pointer);
            let detail = "Another job of this request has the same key.";
            found.push(Violation::new(pointer, "job-key-repeated", detail));
        }
    }
    keys
}

fn planned(nodes: &[Node<'_>], waits: Vec<Waits>, by: &Submitter) -> Planned {
    let mut waiting: HashMap<Uuid, i64> = HashMap::new();
    for one in waits.iter().filter(|one| !one.settled) {
        *waiting.entry(one.job_id).or_default() += 1;
    }
    let jobs = nodes
        .iter()
        .map(|node| job(node, waiting.get(&node.id).copied().unwrap_or(0), by));
    let bodies = nodes
        .iter()
        .filter_map(|node| Some((node.id, node.draft.body_md.clone()?)));
    Planned {
        jobs: jobs.collect(),
        bodies: bodies.collect(),
        waits,
    }
}

/// One that cannot begin whatever is done first, if the new jobs wait for each other in a circle.
fn in_a_circle<'a, 'b>(nodes: &'a [Node<'b>], waits: &[Waits]) -> Option<&'a Node<'b>> {
    let mut left: HashMap<Uuid, usize> = nodes.iter().map(|node| (node.id, 0)).collect();
    let mut dependants: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
    for one in waits {
        if !left.contains_key(&one.dependency_id) {
            continue;
        }
        if let Some(count) = left.get_mut(&one.job_id) {
            *count += 1;
            dependants
                .entry(one.dependency_id)
                .or_default()
                .push(one.job_id);
        }
    }
    let free = left.iter().filter(|(_, count)| **count == 0);
    let mut open: Vec<Uuid> = free.map(|(id, _)| *id).collect();
    while let Some(id) = open.pop() {
        left.remove(&id);
        for dependant in dependants.remove(&id).unwrap_or_default() {
            if let Some(count) = left.get_mut(&dependant) {
                *count -= 1;
                if *count == 0 {
                    open.push(dependant);
                }
            }
        }
    }
    nodes
        .iter()
        .find(|node| left.contains_key(&node.id) && !node.draft.depends_on.is_empty())
}

fn job(node: &Node<'_>, waits_for: i64, by: &Submitter) -> Job {
    let draft = node.draft;
    let has_work = draft.has_work();
    // One without work of its own waits until it has children.
    let stage = if waits_for > 0 || !has_work {
        Stage::Blocked
    } else {
        Stage::Queued
    };
    Job {
        id: node.id,
        tenant_id: by.tenant_id.clone(),
        idempotency_key: draft.idempotency_key.clone(),
        request_digest: draft.digest(),
        product_id: draft.product_id.clone(),
        kind: draft.kind.clone(),
        priority: draft.priority,
        capabilities: draft.capabilities.clone(),
        has_work,
        estimate_micros: draft.estimate_micros,
        max_attempts: draft.max_attempts,
        attempts: 0,
        preemptions: 0,
        stage,
        reason: None,
        released: false,
        checkpoint: None,
        waits_for,
        parent_id: node.parent_id,
        lease_epoch: 0,
        lease: None,
        created_at_us: by.now_us,
        created_by: by.principal.clone(),
        created_by_name: by.principal_name.clone(),
        updated_at_us: by.now_us,
        ended_at_us: None,
        revision: 1,
    }
}
