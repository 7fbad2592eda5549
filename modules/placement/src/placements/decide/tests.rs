//! The table of fits and orders, and what holds for every fleet.

use std::collections::HashMap;

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use uuid::Uuid;

use super::*;

const RULES: Rules = Rules {
    headroom_mb: 512,
    strategy: Strategy::Spread,
};

fn node(id: u128) -> Candidate {
    Candidate {
        id: Uuid::from_u128(id),
        is_fresh: true,
        is_schedulable: true,
        is_reserved: false,
        has_kvm: true,
        free_mb: 1_024,
        free_vcpus: 8,
        cpu_load_pct: 10,
        generation: 0,
    }
}

fn wanted(memory_mb: i64) -> Wanted {
    Wanted {
        tenant_id: "t".to_owned(),
        memory_mb,
        vcpus: 1,
        require_kvm: false,
        preferred: None,
        preferred_only: false,
    }
}

fn candidates(nodes: &[Candidate], rules: &Rules) -> Candidates {
    let mut all = Candidates::new(rules.strategy);
    for node in nodes {
        all.put(*node);
    }
    all
}

/// Which node and pass, or the first reason against each.
fn placed(wanted: &Wanted, nodes: &[Candidate], rules: &Rules) -> Result<(u128, i64), Vec<Reason>> {
    let nodes = candidates(nodes, rules);
    let round = Round::new(&nodes);
    match place(wanted, &round, rules) {
        Ok(chosen) => Ok((chosen.node_id.as_u128(), chosen.pass)),
        Err(Refusal::NoCapacity) => {
            let why = explain(wanted, &round, rules, usize::MAX);
            Err(why.nodes.into_iter().map(|(_, reason)| reason).collect())
        }
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn with_1024_available_and_headroom_512_fits_and_513_does_not() {
    let nodes = [node(1)];
    assert_eq!(placed(&wanted(512), &nodes, &RULES), Ok((1, 1)));
    assert_eq!(
        placed(&wanted(513), &nodes, &RULES),
        Err(vec![Reason::Memory])
    );
    assert_eq!(
        placed(&wanted(i64::MAX), &nodes, &RULES),
        Err(vec![Reason::Memory])
    );
}

#[test]
fn the_first_reason_against_a_node_is_told() {
    let kvm = Wanted {
        require_kvm: true,
        ..wanted(1)
    };
    let all_wrong = Candidate {
        is_fresh: false,
        is_schedulable: false,
        has_kvm: false,
        free_mb: -1,
        free_vcpus: 0,
        ..node(1)
    };
    let mut one = all_wrong;
    assert_eq!(placed(&kvm, &[one], &RULES), Err(vec![Reason::Stale]));
    one.is_fresh = true;
    assert_eq!(placed(&kvm, &[one], &RULES), Err(vec![Reason::Draining]));
    one.is_schedulable = true;
    assert_eq!(placed(&kvm, &[one], &RULES), Err(vec![Reason::NoKvm]));
    one.has_kvm = true;
    assert_eq!(placed(&kvm, &[one], &RULES), Err(vec![Reason::Memory]));
    one.free_mb = 1_024;
    assert_eq!(placed(&kvm, &[one], &RULES), Err(vec![Reason::Vcpus]));
    one.free_vcpus = 1;
    assert_eq!(placed(&kvm, &[one], &RULES), Ok((1, 1)));
}

#[test]
fn reserved_nodes_are_taken_in_the_second_pass_only() {
    let reserved = Candidate {
        is_reserved: true,
        free_mb: 9_000,
        ..node(1)
    };
    assert_eq!(
        placed(&wanted(512), &[reserved, node(2)], &RULES),
        Ok((2, 1))
    );
    assert_eq!(
        placed(&wanted(600), &[reserved, node(2)], &RULES),
        Ok((1, 2))
    );
}

#[test]
fn preferred_then_memory_then_load_then_id() {
    let roomy = Candidate {
        free_mb: 4_096,
        ..node(3)
    };
    let idle = Candidate {
        cpu_load_pct: 1,
        ..node(4)
    };
    let nodes = [node(1), node(2), roomy, idle];
    let binpack = Rules {
        strategy: Strategy::Binpack,
        ..RULES
    };
    assert_eq!(placed(&wanted(512), &nodes, &RULES), Ok((3, 1)));
    assert_eq!(placed(&wanted(512), &nodes, &binpack), Ok((4, 1)));
    assert_eq!(placed(&wanted(512), &nodes[..2], &RULES), Ok((1, 1)));
    let mut asked = wanted(512);
    asked.preferred = Some(Uuid::from_u128(2));
    assert_eq!(placed(&asked, &nodes, &RULES), Ok((2, 1)));
    // It is not exempt from the headroom: another is taken, unless no other will do.
    asked.memory_mb = 513;
    assert_eq!(placed(&asked, &nodes, &RULES), Ok((3, 1)));
    asked.preferred_only = true;
    let (other, full) = (Reason::NotPreferred, Reason::Memory);
    assert_eq!(
        placed(&asked, &nodes, &RULES),
        Err(vec![other, full, other, other])
    );
    asked.preferred = Some(Uuid::from_u128(9));
    assert_eq!(
        place(&asked, &Round::new(&candidates(&nodes, &RULES)), &RULES),
        Err(Refusal::UnknownPreferred)
    );
}

#[test]
fn a_quota_ends_exactly_where_it_says() {
    let quota = Quota {
        vm_count_max: Some(2),
        memory_mb_max: Some(100),
        vm_count: 1,
        memory_mb: 60,
    };
    assert!(quota.allows(40));
    assert!(!quota.allows(41));
    let full = Quota {
        vm_count: 2,
        ..quota
    };
    assert!(!full.allows(1));
    assert!(!quota.allows(i64::MAX));
}

fn any_node() -> impl Strategy_<Value = Candidate> {
    (
        0_u128..40,
        any::<[bool; 4]>(),
        -100_i64..8_000,
        0_i64..16,
        0_i64..3,
    )
        .prop_map(|(id, flags, free_mb, free_vcpus, cpu_load_pct)| Candidate {
            id: Uuid::from_u128(id),
            is_fresh: flags[0],
            is_schedulable: flags[1],
            is_reserved: flags[2],
            has_kvm: flags[3],
            free_mb,
            free_vcpus,
            cpu_load_pct,
            generation: 0,
        })
}

fn any_wanted() -> impl Strategy_<Value = Wanted> {
    let preferred = proptest::option::weighted(0.3, 0_u128..40);
    (1_i64..3_000, 1_i64..8, any::<[bool; 2]>(), preferred).prop_map(
        |(memory_mb, vcpus, flags, preferred)| Wanted {
            vcpus,
            require_kvm: flags[0],
            preferred: preferred.map(Uuid::from_u128),
            preferred_only: flags[1] && preferred.is_some(),
            ..wanted(memory_mb)
        },
    )
}

/// The rule as people say it: look at all nodes, in each pass.
fn naive(wanted: &Wanted, nodes: &[Candidate], rules: &Rules) -> Result<Chosen, Refusal> {
    if wanted
        .preferred
        .is_some_and(|id| nodes.iter().all(|node| node.id != id))
    {
        return Err(Refusal::UnknownPreferred);
    }
    for pass in [1, 2] {
        let fitting = nodes.iter().filter(|node| {
            (pass == 2 || !node.is_reserved)
                && node.is_fresh
                && node.is_schedulable
                && (node.has_kvm || !wanted.require_kvm)
                && node.free_mb - wanted.memory_mb >= rules.headroom_mb
                && node.free_vcpus >= wanted.vcpus
                && (!wanted.preferred_only || wanted.preferred == Some(node.id))
        });
        let best = fitting.min_by_key(|node| {
            let left = node.free_mb - wanted.memory_mb;
            let memory = match rules.strategy {
                Strategy::Spread => -left,
                Strategy::Binpack => left,
            };
            let is_other = wanted.preferred != Some(node.id);
            (is_other, memory, node.cpu_load_pct, node.id)
        });
        if let Some(node) = best {
            let node_id = node.id;
            return Ok(Chosen { node_id, pass });
        }
    }
    Err(Refusal::NoCapacity)
}

use proptest::strategy::Strategy as Strategy_;

proptest! {
    #[test]
    fn no_burst_oversubscribes_and_every_choice_is_that_of_looking_at_all_nodes(
        nodes in proptest::collection::vec(any_node(), 0..30),
        asked in proptest::collection::vec(any_wanted(), 0..40),
        binpack in any::<bool>(),
        turn in 0_usize..30,
    ) {
        let mut nodes = nodes;
        nodes.sort_by_key(|node| node.id);
        nodes.dedup_by_key(|node| node.id);
        let strategy = if binpack { Strategy::Binpack } else { Strategy::Spread };
        let rules = Rules { strategy, ..RULES };
        let asked: Vec<&Wanted> = asked.iter().collect();
        // In another order, and each put there as something else before.
        let mut shuffled = nodes.clone();
        let middle = turn.min(shuffled.len());
        shuffled.rotate_left(middle);
        let mut all = Candidates::new(strategy);
        for node in &shuffled {
            all.put(Candidate { is_reserved: !node.is_reserved, free_mb: 9_999, is_fresh: true, ..*node });
        }
        for node in &shuffled {
            all.put(*node);
        }
        let mut round = Round::new(&all);
        let decided = place_all(&asked, &mut round, &mut HashMap::new(), &rules);
        let mut after = nodes.clone();
        for (wanted, decided) in asked.iter().zip(&decided) {
            let expected = naive(wanted, &after, &rules);
            prop_assert_eq!(decided, &expected);
            if let Ok(chosen) = expected {
                let node = after.iter_mut().find(|node| node.id == chosen.node_id).unwrap();
                node.free_mb -= wanted.memory_mb;
                node.free_vcpus -= wanted.vcpus;
                prop_assert!(node.free_mb >= rules.headroom_mb && node.free_vcpus >= 0);
            } else {
                let why = explain(wanted, &round, &rules, usize::MAX);
                prop_assert!(why.nodes.len() == why.counts.values().sum::<usize>());
            }
        }
        for node in &after {
            prop_assert_eq!(round.get(node.id), Some(*node));
        }
    }
}

/// What a decision costs does not follow the size of the fleet: it looks at the nodes that it passes over, and at one more.
#[test]
fn a_decision_looks_at_few_nodes_of_many() {
    for strategy in [Strategy::Spread, Strategy::Binpack] {
        let rules = Rules { strategy, ..RULES };
        let nodes: Vec<Candidate> = (0..10_000_u128)
            .map(|number| Candidate {
                free_mb: 1_024 + i64::try_from(number).unwrap(),
                is_reserved: number % 7 == 0,
                has_kvm: number % 3 == 0,
                ..node(number)
            })
            .collect();
        let all = candidates(&nodes, &rules);
        let looked = std::cell::Cell::new(0);
        let fits = |_: &Candidate| {
            looked.set(looked.get() + 1);
            true
        };
        for least_mb in [0, 1_024, 5_000, 11_000] {
            assert!(all.best(false, false, least_mb, fits).is_some());
        }
        assert!(all.best(true, true, 99_999, fits).is_none());
        assert_eq!(looked.get(), 8);
    }
}
