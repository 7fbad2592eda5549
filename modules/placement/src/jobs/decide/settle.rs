//! What follows for those that wait for a job when it ships, or is waived: they wait for one less; who waits for nothing any
//! more is queued, or ships in turn where it has no work of its own. Pure.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::super::job::Job;
use super::super::stage::Stage;
use super::{Actor, Event, after, touched};

/// A dependency that is to be settled: who waits, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub job_id: Uuid,
    pub dependency_id: Uuid,
}

/// What is to be written, as it grows.
#[derive(Clone, Debug, Default)]
pub struct Settling {
    /// By id: as read, and as it is to be.
    pub changes: BTreeMap<Uuid, (Job, Job)>,
    pub edges: Vec<Edge>,
    /// More wait than one batch can change: somebody has to go on.
    pub is_cut: bool,
}

impl Settling {
    /// Settles one dependency of `waiting`, which is as it was read, unless it is changed already. True if that ships it, so
    /// that those that wait for it follow.
    pub fn settle(&mut self, edge: Edge, waiting: &Job, now_us: i64) -> bool {
        if waiting.stage.is_final() {
            // It has ended and waits for nothing; nothing of it changes any more.
            self.edges.push(edge);
            return false;
        }
        let (before, current) = match self.changes.remove(&edge.job_id) {
            Some((before, current)) => (before, current),
            None => (waiting.clone(), touched(waiting, now_us)),
        };
        let (next, ships) = one_less(current, now_us);
        self.changes.insert(edge.job_id, (before, next));
        self.edges.push(edge);
        ships
    }
}

fn one_less(mut job: Job, now_us: i64) -> (Job, bool) {
    job.waits_for = job.waits_for.saturating_sub(1).max(0);
    match after(&job, Actor::System, Event::Settle, now_us) {
        Ok(moved) => {
            // One change, however many dependencies were settled by it.
            let ships = moved.stage == Stage::Shipped;
            let moved = Job {
                revision: job.revision,
                ..moved
            };
            (moved, ships)
        }
        Err(_) => (job, false),
    }
}
