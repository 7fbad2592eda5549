//! Which jobs go to which claims: pure. It sees the first of each queue, gives each job at most once, and takes no more seats
//! and money than there are. What it decides is committed only if it is still so.

pub mod reach;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::score::{Score, SomeWeights, Weights};
use crate::jobs::job::{Bucket, Priority};

/// So often a job gives its place to another; after that it stays.
pub const PREEMPTIONS_MAX: i64 = 3;

/// A job that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub job_id: Uuid,
    pub created_at_us: i64,
    pub estimate_micros: i64,
}

/// A queue and its first jobs, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    pub bucket: Bucket,
    /// When the first of them was submitted: known before the jobs are.
    pub oldest_us: i64,
    pub heads: Vec<Waiting>,
}

/// A job that a factory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    pub job_id: Uuid,
    pub bucket: Bucket,
    pub created_at_us: i64,
    pub claimed_at_us: i64,
    pub preemptions: i64,
}

/// A factory as far as claims go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// Empty: it works for every tenant.
    pub tenant_id: String,
    /// Sorted.
    pub capabilities: Vec<String>,
    pub seats_free: i64,
}

/// A claim to be decided.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ask {
    pub factory_id: Uuid,
    pub weights: SomeWeights,
    pub product_id: Option<String>,
    /// This job and no other.
    pub only_id: Option<Uuid>,
    /// It, alone in a queue; none where it does not wait.
    pub only: Option<Queue>,
}

/// What is left of a product's budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Paused, or over its ceiling.
    pub closed: bool,
    /// Ceiling less spent less reserved.
    pub micros: i64,
}

/// What all claims of a round are decided on.
#[derive(Clone, Debug, Default)]
pub struct Situation {
    pub now_us: i64,
    pub preemption: bool,
    pub factories: BTreeMap<Uuid, Claimant>,
    pub queues: Vec<Queue>,
    /// As products set them.
    pub weights: BTreeMap<String, SomeWeights>,
    /// Of products that have a budget; empty where budgets are off.
    pub rooms: BTreeMap<String, Room>,
    /// Of factories without a free seat, where preemption is on.
    pub running: BTreeMap<Uuid, Vec<Running>>,
}

/// What becomes of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Take {
        job_id: Uuid,
    },
    /// The critical job takes the seat of the victim.
    Preempt {
        job_id: Uuid,
        victim_id: Uuid,
    },
    Nothing,
    /// Its factory has taken its last seat in this round: what runs there has to be read again.
    Again,
}

impl Decision {
    /// The job that is given.
    pub fn claimed(&self) -> Option<Uuid> {
        match self {
            Self::Take { job_id } | Self::Preempt { job_id, .. } => Some(*job_id),
            Self::Nothing | Self::Again => None,
        }
    }

    /// The jobs that are changed.
    pub fn jobs(&self) -> impl Iterator<Item = Uuid> + use<> {
        let victim = match self {
            Self::Preempt { victim_id, .. } => Some(*victim_id),
            _ => None,
        };
        self.claimed().into_iter().chain(victim)
    }
}

/// A job that a claim could have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub job_id: Uuid,
    pub product_id: String,
    pub priority: Priority,
    pub created_at_us: i64,
    pub estimate_micros: i64,
    pub score: Score,
}

impl Situation {
    /// Field by field: the request's, the product's, the defaults.
    pub fn weights_of(&self, asked: SomeWeights, product_id: &str) -> Weights {
        let of_product = self.weights.get(product_id).copied().unwrap_or_default();
        asked.or(of_product.or(Weights::default()))
    }

    /// Whether this claim may look into that queue at all.
    pub fn admits(&self, ask: &Ask, bucket: &Bucket) -> bool {
        let Some(factory) = self.factories.get(&ask.factory_id) else {
            return false;
        };
        let product = ask.product_id.as_ref();
        let open = self
            .rooms
            .get(&bucket.product_id)
            .is_none_or(|room| !room.closed);
        open && (factory.tenant_id.is_empty() || factory.tenant_id == bucket.tenant_id)
            && product.is_none_or(|product| *product == bucket.product_id)
            && bucket
                .capabilities
                .iter()
                .all(|one| factory.capabilities.contains(one))
    }

    fn queues_of<'a>(&'a self, ask: &'a Ask) -> &'a [Queue] {
        match ask.only_id {
            Some(_) => ask.only.as_slice(),
            None => &self.queues,
        }
    }

    /// Whether no budget keeps a claim from the first job of the queue at this place.
    pub fn is_unlimited(&self, place: usize) -> bool {
        let product = self.queues.get(place).map(|queue| &queue.bucket.product_id);
        product.is_none_or(|product| !self.rooms.contains_key(product))
    }

    /// Whether a critical job waits that this claim could have.
    pub fn is_urgent(&self, ask: &Ask) -> bool {
        let mut critical = self
            .queues_of(ask)
            .iter()
            .filter(|queue| queue.bucket.priority == Priority::Critical);
        critical.any(|queue| self.admits(ask, &queue.bucket))
    }

    /// The first job of each queue that this claim could have, best first.
    pub fn candidates(&self, ask: &Ask, given: &BTreeSet<Uuid>) -> Vec<Candidate> {
        let mut found: Vec<Candidate> = self.each(ask, given).collect();
        found.sort_by_key(rank);
        found
    }

    fn each<'a>(
        &'a self,
        ask: &'a Ask,
        given: &'a BTreeSet<Uuid>,
    ) -> impl Iterator<Item = Candidate> + 'a {
        let admitted = self
            .queues_of(ask)
            .iter()
            .filter(|queue| self.admits(ask, &queue.bucket));
        admitted.filter_map(|queue| {
            let room = self
                .rooms
                .get(&queue.bucket.product_id)
                .map_or(i64::MAX, |room| room.micros);
            let mut heads = queue.heads.iter();
            let head =
                heads.find(|one| one.estimate_micros <= room && !given.contains(&one.job_id))?;
            let weights = self.weights_of(ask.weights, &queue.bucket.product_id);
            Some(Candidate {
                job_id: head.job_id,
                product_id: queue.bucket.product_id.clone(),
                priority: queue.bucket.priority,
                created_at_us: head.created_at_us,
                estimate_micros: head.estimate_micros,
                score: Score::of(weights, &queue.bucket, head.created_at_us, self.now_us),
            })
        })
    }
}

/// Smallest first: the best. Ties: higher priority, older, id.
fn rank(candidate: &Candidate) -> (Reverse<i128>, Reverse<Priority>, i64, Uuid) {
    (
        Reverse(candidate.score.total()),
        Reverse(candidate.priority),
        candidate.created_at_us,
        candidate.job_id,
    )
}

/// Decides all claims in their order; the answers are in the same order. Seats, money, jobs and victims that one takes are
/// there no more for those after it.
pub fn decide(mut situation: Situation, asks: &[Ask]) -> Vec<Decision> {
    let mut given = BTreeSet::new();
    let mut moved = BTreeSet::new();
    let mut decisions = Vec::with_capacity(asks.len());
    for ask in asks {
        let decision = match decide_one(&situation, ask, &given) {
            Decision::Preempt { .. } if moved.contains(&ask.factory_id) => Decision::Again,
            decision => decision,
        };
        match &decision {
            Decision::Take { job_id } => {
                given.insert(*job_id);
                if let Some(factory) = situation.factories.get_mut(&ask.factory_id) {
                    factory.seats_free -= 1;
                }
            }
            Decision::Preempt { job_id, victim_id } => {
                given.insert(*job_id);
                if let Some(running) = situation.running.get_mut(&ask.factory_id) {
                    running.retain(|one| one.job_id != *victim_id);
                }
            }
            Decision::Nothing | Decision::Again => {}
        }
        if let Decision::Take { job_id } | Decision::Preempt { job_id, .. } = &decision {
            moved.insert(ask.factory_id);
            spend(&mut situation, ask, *job_id);
        }
        decisions.push(decision);
    }
    decisions
}

fn spend(situation: &mut Situation, ask: &Ask, job_id: Uuid) {
    let mut queues = situation.queues.iter().chain(&ask.only);
    let found = queues.find_map(|queue| {
        let head = queue.heads.iter().find(|head| head.job_id == job_id)?;
        Some((queue.bucket.product_id.clone(), head.estimate_micros))
    });
    if let Some((product_id, estimate_micros)) = found
        && let Some(room) = situation.rooms.get_mut(&product_id)
    {
        room.micros = room.micros.saturating_sub(estimate_micros);
    }
}

fn decide_one(situation: &Situation, ask: &Ask, given: &BTreeSet<Uuid>) -> Decision {
    let Some(factory) = situation.factories.get(&ask.factory_id) else {
        return Decision::Nothing;
    };
    let is_full = factory.seats_free <= 0;
    // Where it holds more than it has seats for, one that gives way makes no room.
    if factory.seats_free < 0 || is_full && !situation.preemption {
        return Decision::Nothing;
    }
    let Some(best) = situation.each(ask, given).min_by_key(rank) else {
        return Decision::Nothing;
    };
    if !is_full {
        return Decision::Take {
            job_id: best.job_id,
        };
    }
    if best.priority != Priority::Critical {
        return Decision::Nothing;
    }
    let running = situation
        .running
        .get(&ask.factory_id)
        .map_or(&[][..], Vec::as_slice);
    let weights = |product_id: &str| situation.weights_of(ask.weights, product_id);
    match select_victim(running, weights, situation.now_us) {
        Some(victim) => Decision::Preempt {
            job_id: best.job_id,
            victim_id: victim.job_id,
        },
        None => Decision::Nothing,
    }
}

/// Which running job gives its seat to a critical one: the lowest score below critical, of those that did so fewer than three
/// times. Ties: lowest priority, newest claim, id.
pub fn select_victim(
    running: &[Running],
    weights: impl Fn(&str) -> Weights,
    now_us: i64,
) -> Option<&Running> {
    let able = running.iter().filter(|one| {
        one.bucket.priority < Priority::Critical && one.preemptions < PREEMPTIONS_MAX
    });
    able.min_by_key(|one| {
        let weights = weights(&one.bucket.product_id);
        let score = Score::of(weights, &one.bucket, one.created_at_us, now_us);
        (
            score.total(),
            one.bucket.priority,
            Reverse(one.claimed_at_us),
            one.job_id,
        )
    })
}
