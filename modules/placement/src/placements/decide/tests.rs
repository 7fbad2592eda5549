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

/// Which node and pass, or the first reason against each.
fn placed(wanted: &Wanted, nodes: &[Candidate], rules: &Rules) -> Result<(u128, i64), Vec<Reason>> {
    match place(wanted, nodes, rules) {
        Ok(chosen) => Ok((chosen.node_id.as_u128(), chosen.pass)),
        Err(Refusal::NoCapacity(reasons)) => {
            Err(reasons.into_iter().map(|(_, reason)| reason).collect())
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
        place(&asked, &nodes, &RULES),
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
        })
}

fn any_wanted() -> impl Strategy_<Value = Wanted> {
    (1_i64..3_000, 1_i64..8, any::<bool>()).prop_map(|(memory_mb, vcpus, require_kvm)| Wanted {
        vcpus,
        require_kvm,
        ..wanted(memory_mb)
    })
}

use proptest::strategy::Strategy as Strategy_;

proptest! {
    #[test]
    fn no_burst_oversubscribes_and_no_order_of_nodes_changes_anything(
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
        let mut after = nodes.clone();
        let decided = place_all(&asked, &mut after, &mut HashMap::new(), &rules);
        for (before, after) in nodes.iter().zip(&after) {
            if after.free_mb != before.free_mb {
                prop_assert!(after.free_mb >= rules.headroom_mb);
                prop_assert!(after.free_vcpus >= 0);
                prop_assert!(before.is_fresh && before.is_schedulable);
            }
        }
        let mut other = nodes.clone();
        let middle = turn.min(other.len());
        other.rotate_left(middle);
        other.reverse();
        prop_assert_eq!(decided, place_all(&asked, &mut other, &mut HashMap::new(), &rules));
    }
}
