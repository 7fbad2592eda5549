//! Properties of scores and decisions.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn bucket(priority: usize, attempts: i64, capabilities: &[&str]) -> Bucket {
    Bucket {
        tenant_id: String::new(),
        product_id: "p".to_owned(),
        capabilities: capabilities.iter().map(|one| (*one).to_owned()).collect(),
        priority: Priority::ALL[priority],
        attempts,
    }
}

proptest! {
    #[test]
    fn every_job_is_given_once_within_seats_and_money(
        jobs in prop::collection::vec((0..4_usize, 0..3_i64, 0..1_000_000_i64, 0..50_i64), 0..40),
        seats in prop::collection::vec(0..6_i64, 1..5),
        asks in prop::collection::vec(0..5_usize, 0..64),
        room in 0..400_i64,
    ) {
        let mut queues: BTreeMap<(usize, i64), Queue> = BTreeMap::new();
        for (number, (priority, attempts, created_at_us, estimate_micros)) in jobs.iter().enumerate() {
            let queue = queues.entry((*priority, *attempts)).or_insert_with(|| Queue {
                bucket: bucket(*priority, *attempts, &[]),
                oldest_us: 0,
                heads: Vec::new(),
            });
            queue.heads.push(Waiting {
                job_id: Uuid::from_u128(number as u128 + 1),
                created_at_us: *created_at_us,
                estimate_micros: *estimate_micros,
            });
        }
        let factories = seats.iter().enumerate().map(|(number, seats_free)| {
            let claimant = Claimant { tenant_id: String::new(), capabilities: Vec::new(), seats_free: *seats_free };
            (Uuid::from_u128(number as u128), claimant)
        });
        let situation = Situation {
            now_us: 2_000_000,
            factories: factories.collect(),
            queues: queues.into_values().collect(),
            rooms: [("p".to_owned(), Room { closed: false, micros: room })].into(),
            ..Situation::default()
        };
        let asks: Vec<Ask> = asks.iter().map(|number| Ask { factory_id: Uuid::from_u128(*number as u128), ..Ask::default() }).collect();
        let decisions = decide(situation, &asks);
        prop_assert_eq!(decisions.len(), asks.len());
        let mut given = BTreeSet::new();
        let mut used = vec![0_i64; 6];
        let mut spent = 0;
        for (ask, decision) in asks.iter().zip(&decisions) {
            let Decision::Take { job_id } = decision else { continue };
            prop_assert!(given.insert(*job_id));
            used[ask.factory_id.as_u128() as usize] += 1;
            spent += jobs[job_id.as_u128() as usize - 1].3;
        }
        prop_assert!(spent <= room);
        for (number, used) in used.into_iter().enumerate() {
            prop_assert!(used <= seats.get(number).copied().unwrap_or(0));
        }
    }

    #[test]
    fn age_never_changes_the_order_among_equals(first in 0..1_000_000_i64, second in 0..1_000_000_i64, later in 0..i64::MAX / 2) {
        let score = |created| Score::of(Weights::default(), &bucket(1, 0, &[]), created, 1_000_000 + later).total();
        prop_assert_eq!(first < second, score(first) > score(second));
    }

    #[test]
    fn a_victim_is_the_lowest_below_critical_that_gave_way_less_than_three_times(
        running in prop::collection::vec((0..4_usize, 0..3_i64, 0..100_i64, 0..100_i64, 0..5_i64), 0..12),
    ) {
        let running: Vec<Running> = running.iter().enumerate().map(|(number, one)| Running {
            job_id: Uuid::from_u128(number as u128),
            bucket: bucket(one.0, one.1, &[]),
            created_at_us: one.2,
            claimed_at_us: one.3,
            preemptions: one.4,
        }).collect();
        let victim = select_victim(&running, |_| Weights::default(), 1_000);
        let score = |one: &Running| Score::of(Weights::default(), &one.bucket, one.created_at_us, 1_000).total();
        let able = |one: &&Running| one.bucket.priority != Priority::Critical && one.preemptions < 3;
        match victim {
            None => prop_assert!(!running.iter().any(|one| able(&one))),
            Some(victim) => {
                prop_assert!(able(&victim));
                prop_assert!(running.iter().filter(able).all(|one| score(one) >= score(victim)));
            }
        }
        let mut turned = running.clone();
        turned.reverse();
        prop_assert_eq!(victim, select_victim(&turned, |_| Weights::default(), 1_000));
    }
}

#[test]
fn the_formula_is_that_of_the_product() {
    let score = Score::of(
        Weights::default(),
        &bucket(2, 3, &["gpu"]),
        0,
        7 * 60_000_000,
    );
    assert_eq!(score.to_json()["total"], 7 + 20 - 6 + 5);
}

#[test]
fn a_full_factory_gives_a_seat_to_the_critical_only_where_preemption_is_on() {
    let id = Uuid::from_u128(1);
    let claimant = Claimant {
        tenant_id: String::new(),
        capabilities: Vec::new(),
        seats_free: 0,
    };
    let head = Waiting {
        job_id: Uuid::from_u128(9),
        created_at_us: 0,
        estimate_micros: 0,
    };
    let victim = Running {
        job_id: Uuid::from_u128(5),
        bucket: bucket(2, 0, &[]),
        created_at_us: 0,
        claimed_at_us: 0,
        preemptions: 0,
    };
    for (preemption, priority, expected) in [
        (false, 3, Decision::Nothing),
        (true, 2, Decision::Nothing),
        (
            true,
            3,
            Decision::Preempt {
                job_id: head.job_id,
                victim_id: victim.job_id,
            },
        ),
    ] {
        let situation = Situation {
            preemption,
            factories: [(id, claimant.clone())].into(),
            queues: vec![Queue {
                oldest_us: 0,
                bucket: bucket(priority, 0, &[]),
                heads: vec![head.clone()],
            }],
            running: [(id, vec![victim.clone()])].into(),
            ..Situation::default()
        };
        let ask = Ask {
            factory_id: id,
            ..Ask::default()
        };
        let decisions = decide(situation, &[ask.clone(), ask]);
        assert_eq!(decisions, [expected, Decision::Nothing]);
    }
}
