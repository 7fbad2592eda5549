//! The properties that tie the parts together: both spellings read back, and the index answers as the reference does.

mod generate;

use std::collections::BTreeMap;
use std::sync::Arc;

use fleetwright_selector::text::{Expression, parse_expression, print_criteria};
use fleetwright_selector::{
    Criterion, HostFields, HostLookups, Index, Lookups, Selector, Truth, ValidSelector, evaluate,
};
use proptest::prelude::*;
use uuid::Uuid;

use generate::{groups, host, host_id, selector};

#[derive(Debug, Clone)]
enum Change {
    Upsert(Box<HostFields>),
    Remove(Uuid),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![3 => host().prop_map(|host| Change::Upsert(Box::new(host))), 1 => host_id().prop_map(Change::Remove)];
    prop::collection::vec(change, 0..60)
}

type Fleet = BTreeMap<Uuid, HostFields>;

fn apply(changes: Vec<Change>) -> (Fleet, Index) {
    let (mut fleet, mut index) = (Fleet::new(), Index::new());
    for change in changes {
        match change {
            Change::Upsert(host) => {
                index.upsert(&host);
                fleet.insert(host.id, *host);
            }
            Change::Remove(id) => assert_eq!(index.remove(&id), fleet.remove(&id).is_some()),
        }
    }
    (fleet, index)
}

fn by_truth(
    criterion: &Criterion,
    fleet: &Fleet,
    groups: &BTreeMap<String, Vec<Uuid>>,
    wanted: Truth,
) -> Vec<Uuid> {
    let truth = |host: &HostFields| {
        let is_member = |group: &str| groups.get(group).map(|members| members.contains(&host.id));
        evaluate(
            criterion,
            host,
            &HostLookups {
                is_member: &is_member,
            },
        )
    };
    fleet
        .values()
        .filter(|host| truth(host) == wanted)
        .map(|host| host.id)
        .collect()
}

/// Answers the look-ups of the index from the same data as the reference.
fn with_lookups<T>(
    fleet: &Fleet,
    index: &Index,
    groups: &BTreeMap<String, Vec<Uuid>>,
    answer: impl FnOnce(&Lookups<'_>) -> T,
) -> T {
    let group_members = |group: &str| {
        groups
            .get(group)
            .map(|members| Arc::new(index.slots_of(members)))
    };
    let last_seen_at_us = |id: &Uuid| fleet.get(id).and_then(|host| host.last_seen_at_us);
    answer(&Lookups {
        group_members: &group_members,
        last_seen_at_us: &last_seen_at_us,
    })
}

fn part_at<'a>(selector: &'a ValidSelector, pointer: &str) -> &'a Criterion {
    let mut steps = pointer
        .strip_prefix("/criteria/")
        .expect("a criterion")
        .split('/');
    let position = |step: Option<&str>| {
        step.expect("a position")
            .parse::<usize>()
            .expect("a number")
    };
    let mut criterion = &selector.criteria()[position(steps.next())];
    while steps.next().is_some() {
        criterion = match criterion {
            Criterion::All(parts) | Criterion::Any(parts) => &parts[position(steps.next())],
            Criterion::Not(part) => part,
            Criterion::Leaf(_) => panic!("{pointer} leads into a leaf"),
        };
    }
    criterion
}

proptest! {
    #[test]
    fn reading_a_printed_expression_gives_the_same_criteria(selector in selector()) {
        let printed = print_criteria(selector.criteria());
        prop_assert_eq!(parse_expression(&printed), Ok(Expression::Criteria(selector.criteria().to_vec())), "{}", printed);
    }

    #[test]
    fn reading_canonical_json_gives_the_same_selector(selector in selector()) {
        let json = selector.to_json();
        let read = Selector::parse_stored(&json).expect("canonical JSON is valid");
        prop_assert_eq!(read.to_json(), json);
        prop_assert_eq!(read, selector);
    }

    #[test]
    fn the_index_agrees_with_the_reference_on_every_host(changes in changes(), selector in selector(), groups in groups()) {
        let (fleet, index) = apply(changes);
        for criterion in selector.criteria() {
            let truths = with_lookups(&fleet, &index, &groups, |lookups| index.evaluate(criterion, lookups));
            prop_assert_eq!(index.ids_of(&truths.matched), by_truth(criterion, &fleet, &groups, Truth::True), "matched: {:?}", criterion);
            prop_assert_eq!(index.ids_of(&truths.unknown), by_truth(criterion, &fleet, &groups, Truth::Unknown), "unknown: {:?}", criterion);
        }
    }

    #[test]
    fn a_selection_is_the_explicit_hosts_and_those_that_satisfy_all_criteria(changes in changes(), selector in selector(), groups in groups()) {
        let (fleet, index) = apply(changes);
        let all = Criterion::all_of(selector.criteria().to_vec());
        let mut expected = by_truth(&all, &fleet, &groups, Truth::True);
        expected.extend(selector.explicit_host_ids().iter().filter(|id| fleet.contains_key(id)));
        expected.sort();
        expected.dedup();
        let selection = with_lookups(&fleet, &index, &groups, |lookups| index.select(&selector, lookups));
        prop_assert_eq!(selection.count, expected.len() as u64);
        prop_assert_eq!(&selection.digest, &fleetwright_selector::digest_of_sorted(&expected));
        prop_assert_eq!(selection.host_ids, expected);
        prop_assert!(selection.unknown_host_ids.iter().all(|id| !fleet.contains_key(id)));
        prop_assert!(selector.explicit_host_ids().iter().all(|id| fleet.contains_key(id) || selection.unknown_host_ids.contains(id)));
    }

    #[test]
    fn an_explanation_counts_as_the_reference_does(changes in changes(), selector in selector(), groups in groups()) {
        let (fleet, index) = apply(changes);
        let explanations = with_lookups(&fleet, &index, &groups, |lookups| index.explain(&selector, lookups));
        prop_assert!(explanations.len() >= selector.criteria().len());
        for explanation in explanations {
            let criterion = part_at(&selector, &explanation.pointer);
            let count = |wanted| by_truth(criterion, &fleet, &groups, wanted).len() as u64;
            let counted = (explanation.matched, explanation.not_matched, explanation.unknown);
            prop_assert_eq!(counted, (count(Truth::True), count(Truth::False), count(Truth::Unknown)), "{}", explanation.criterion);
        }
    }

    #[test]
    fn an_emptied_index_forgets_everything(changes in changes(), selector in selector()) {
        let (fleet, mut index) = apply(changes);
        for id in fleet.keys() {
            prop_assert!(index.remove(id));
        }
        prop_assert!(index.is_empty() && index.live().is_empty());
        prop_assert_eq!(index.select(&selector, &Lookups::none()).count, 0);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[a-z_.=!<>~(),\"'\\\\ 0-9\u{0}\u{202e}ö]{0,60}") {
        if let Err(error) = parse_expression(&text) {
            prop_assert!(error.column >= 1 && error.column <= text.chars().count() + 1, "{:?}: {}", text, error);
        }
    }
}
