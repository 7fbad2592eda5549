//! Which queues a round of claims can reach: pure. Only their first jobs are read.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::super::score::Score;
use super::{Ask, Situation};

/// Queues whose first jobs one round reads, at most; the best of each claim come first.
pub const QUEUES_MAX: usize = 600;

/// Places in `situation.queues` of those that hold the best `depth` jobs of any of these claims, whichever the others take.
/// Each queue has a job, so that is its `depth` best queues; those whose jobs may cost more than their budget has left are
/// beside that number.
pub fn reach(situation: &Situation, asks: &[Ask], depth: usize) -> Vec<usize> {
    let mut seen = BTreeSet::new();
    let mut ranked: BTreeSet<(usize, usize)> = BTreeSet::new();
    for ask in asks.iter().filter(|ask| ask.only_id.is_none()) {
        let Some(factory) = situation.factories.get(&ask.factory_id) else {
            continue;
        };
        // Alike for all of them.
        let alike = (
            &factory.tenant_id,
            &factory.capabilities,
            ask.weights.key(),
            &ask.product_id,
        );
        if !seen.insert(alike) {
            continue;
        }
        let admitted = situation.queues.iter().enumerate();
        let admitted = admitted.filter(|(_, queue)| situation.admits(ask, &queue.bucket));
        let mut scored: Vec<_> = admitted
            .map(|(place, queue)| {
                let weights = situation.weights_of(ask.weights, &queue.bucket.product_id);
                let score = Score::of(weights, &queue.bucket, queue.oldest_us, situation.now_us);
                let ties = (Reverse(queue.bucket.priority), queue.oldest_us);
                (Reverse(score.total()), ties, place)
            })
            .collect();
        scored.sort_unstable();
        let mut certain = 0;
        for (rank, (_, _, place)) in scored.into_iter().enumerate() {
            if certain == depth {
                break;
            }
            certain += usize::from(situation.is_unlimited(place));
            ranked.insert((rank, place));
        }
    }
    let mut reached = BTreeSet::new();
    for (_, place) in ranked {
        if reached.len() == QUEUES_MAX {
            break;
        }
        reached.insert(place);
    }
    reached.into_iter().collect()
}
