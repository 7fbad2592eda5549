//! Tables and properties of the decisions about the graph.

use std::collections::{BTreeMap, BTreeSet};

use fleetwright_selector::Selector;
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::catalog::{Changes, Group};
use crate::graph::{Edges, Graph};

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn graph(edges: &[(u128, Option<u128>, &[u128])]) -> Graph {
    Graph::new(edges.iter().map(|(node, parent, references)| {
        let edges = Edges {
            parent: parent.map(id),
            references: references.iter().copied().map(id).collect(),
        };
        (id(*node), edges)
    }))
}

/// A group whose selector names these groups.
fn group(number: u128, parent: Option<u128>, references: &[u128]) -> Group {
    let names: Vec<Uuid> = references.iter().copied().map(id).collect();
    let selector = json!({ "groups": names });
    Group {
        id: id(number),
        name: format!("g{number}"),
        description: String::new(),
        parent_id: parent.map(id),
        explicit_host_ids: Vec::new(),
        selector: (!names.is_empty()).then(|| Selector::parse(&selector).unwrap()),
        created_at_us: 1,
        updated_at_us: 1,
        revision: 1,
        generation: 1,
    }
}

fn catalog(groups: Vec<Group>) -> Catalog {
    Catalog::default().with(Changes {
        written: groups,
        removed: Vec::new(),
        generation: 7,
    })
}

fn draft(name: &str, parent: Option<u128>, selector: Option<serde_json::Value>) -> Draft {
    Draft {
        name: name.to_owned(),
        description: String::new(),
        parent_id: parent.map(id),
        explicit_host_ids: Vec::new(),
        references: selector
            .as_ref()
            .map(|selector| crate::request::group_places(selector, "/selector"))
            .unwrap_or_default(),
        selector: selector.map(|selector| Selector::parse(&selector).unwrap()),
    }
}

#[test]
fn a_circle_is_found_with_its_shortest_path() {
    type Node = (u128, Option<u128>, &'static [u128]);
    let cases: [(&[Node], Option<&[u128]>); 8] = [
        (&[(1, None, &[])], None),
        (&[(1, Some(1), &[])], Some(&[1, 1])),
        (&[(1, None, &[1])], Some(&[1, 1])),
        (&[(1, None, &[2]), (2, None, &[])], None),
        // A child that names its parent.
        (&[(1, None, &[]), (2, Some(1), &[1])], Some(&[1, 2, 1])),
        // A parent that names its child depends on it twice, which is no circle.
        (&[(1, None, &[2]), (2, Some(1), &[])], None),
        (
            &[(1, None, &[2]), (2, None, &[3]), (3, None, &[1])],
            Some(&[1, 2, 3, 1]),
        ),
        // The shorter of two.
        (
            &[
                (1, None, &[2, 4]),
                (2, None, &[3]),
                (3, None, &[1]),
                (4, None, &[1]),
            ],
            Some(&[1, 4, 1]),
        ),
    ];
    for (edges, expected) in cases {
        let expected = expected.map(|path| path.iter().copied().map(id).collect::<Vec<_>>());
        assert_eq!(graph(edges).cycle_through(id(1)), expected, "{edges:?}");
    }
}

#[test]
fn putting_a_group_again_takes_its_old_edges_out() {
    let mut graph = graph(&[(1, None, &[]), (2, Some(1), &[]), (3, None, &[])]);
    graph.put(
        id(2),
        Edges {
            parent: Some(id(3)),
            references: vec![id(1)],
        },
    );
    assert_eq!(graph.cycle_through(id(1)), None);
    assert_eq!(graph.cycle_through(id(3)), None);
    graph.put(
        id(1),
        Edges {
            parent: None,
            references: vec![id(3)],
        },
    );
    assert_eq!(
        graph.cycle_through(id(3)),
        Some(vec![id(3), id(2), id(1), id(3)])
    );
}

#[test]
fn saving_refuses_what_does_not_fit_the_other_groups() {
    let catalog = catalog(vec![group(1, None, &[]), group(2, Some(1), &[])]);
    let new = SaveAs::New(id(9));
    let cases = [
        (
            SaveAs::Existing(id(5), IfMatch::ANY),
            draft("x", None, None),
            NotSaved::NotFound,
        ),
        (
            SaveAs::Existing(id(1), IfMatch::one_of([2])),
            draft("x", None, None),
            NotSaved::Stale,
        ),
        (
            new.clone(),
            draft("G1", None, None),
            NotSaved::NameTaken(id(1)),
        ),
        (
            SaveAs::Existing(id(2), IfMatch::ANY),
            draft("g1", None, None),
            NotSaved::NameTaken(id(1)),
        ),
    ];
    for (save_as, draft, expected) in cases {
        assert_eq!(
            decide_save(&catalog, &save_as, &draft, 5),
            Err(expected),
            "{save_as:?}"
        );
    }
    let wrong = draft(
        "x",
        Some(8),
        Some(json!({"groups": ["g1", "g8"], "expression": "group = g9"})),
    );
    let Err(NotSaved::Invalid(violations)) = decide_save(&catalog, &new, &wrong, 5) else {
        panic!("unknown groups were accepted");
    };
    let pointers: Vec<&str> = violations
        .iter()
        .map(|violation| violation.pointer.as_str())
        .collect();
    assert_eq!(
        pointers,
        ["/parent_id", "/selector/groups/1", "/selector/expression"]
    );
    let closing = draft("g1", None, Some(json!({"groups": ["g2"]})));
    let saved = decide_save(
        &catalog,
        &SaveAs::Existing(id(1), IfMatch::ANY),
        &closing,
        5,
    )
    .unwrap();
    assert_eq!(
        (
            saved.revision,
            saved.generation,
            saved.created_at_us,
            saved.updated_at_us
        ),
        (2, 8, 1, 5)
    );
    let under = draft("g1", Some(2), None);
    let refused = decide_save(&catalog, &SaveAs::Existing(id(1), IfMatch::ANY), &under, 5);
    let Err(NotSaved::Cycle(cycle)) = refused else {
        panic!("a circle was accepted")
    };
    assert_eq!(cycle.pointer, "/parent_id");
    let names: Vec<&str> = cycle.path.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["g1", "g2", "g1"]);
}

#[test]
fn there_are_at_most_so_many_groups() {
    let groups = (1..=GROUPS_MAX).map(|number| group(u128::try_from(number).unwrap(), None, &[]));
    let full = catalog(groups.collect());
    let refused = decide_save(&full, &SaveAs::New(id(9_999)), &draft("x", None, None), 5);
    assert_eq!(refused, Err(NotSaved::TooMany));
    assert!(
        decide_save(
            &full,
            &SaveAs::Existing(id(1), IfMatch::ANY),
            &draft("x", None, None),
            5
        )
        .is_ok()
    );
}

#[test]
fn a_group_that_a_selector_names_is_in_use() {
    let catalog = catalog(vec![
        group(1, None, &[]),
        group(2, Some(1), &[1]),
        group(3, None, &[1, 2]),
    ]);
    let delete = |number, seen| decide_delete(&catalog, id(number), &seen);
    let users = BTreeSet::from([id(2), id(3)]);
    assert_eq!(delete(1, IfMatch::ANY), Err(DeleteRefusal::InUse(users)));
    assert_eq!(delete(3, IfMatch::ANY), Ok(()));
    assert_eq!(delete(3, IfMatch::one_of([1])), Ok(()));
    assert_eq!(delete(3, IfMatch::one_of([2])), Err(DeleteRefusal::Stale));
    assert_eq!(delete(4, IfMatch::ANY), Err(DeleteRefusal::NotFound));
}

#[test]
fn a_chain_as_long_as_there_are_groups_is_ordered() {
    let last = u128::try_from(GROUPS_MAX).unwrap();
    let order = dependencies_first([id(1)], |at| {
        (at.as_u128() < last)
            .then(|| id(at.as_u128() + 1))
            .into_iter()
            .collect()
    });
    assert_eq!((order.len(), order[0]), (GROUPS_MAX, id(last)));
}

/// Edges among twelve groups: from each to any.
fn any_edges() -> impl Strategy<Value = Vec<(u128, u128)>> {
    prop::collection::vec((0_u128..12, 0_u128..12), 0..24)
}

fn reaches(edges: &[(u128, u128)], from: u128, to: u128) -> bool {
    let mut seen = BTreeSet::new();
    let mut queue = vec![from];
    while let Some(at) = queue.pop() {
        for (_, next) in edges.iter().filter(|(start, _)| *start == at) {
            if *next == to {
                return true;
            }
            if seen.insert(*next) {
                queue.push(*next);
            }
        }
    }
    false
}

proptest! {
    #[test]
    fn a_circle_is_found_if_and_only_if_there_is_one(edges in any_edges()) {
        let mut nodes: BTreeMap<u128, Vec<u128>> = (0..12).map(|node| (node, Vec::new())).collect();
        for (from, to) in &edges {
            nodes.get_mut(from).unwrap().push(*to);
        }
        let graph = Graph::new(nodes.iter().map(|(node, references)| {
            let references = references.iter().copied().map(id).collect();
            (id(*node), Edges { parent: None, references })
        }));
        for node in 0..12 {
            let found = graph.cycle_through(id(node));
            prop_assert_eq!(found.is_some(), reaches(&edges, node, node));
            if let Some(path) = found {
                prop_assert_eq!((path.first(), path.last()), (Some(&id(node)), Some(&id(node))));
                for step in path.windows(2) {
                    prop_assert!(edges.contains(&(step[0].as_u128(), step[1].as_u128())));
                }
            }
        }
    }

    #[test]
    fn whatever_is_saved_one_after_the_other_stays_without_circles(
        changes in prop::collection::vec((1_u128..8, prop::option::of(1_u128..8), prop::collection::btree_set(1_u128..8, 0..3)), 1..30),
    ) {
        let mut catalog = catalog((1..8).map(|number| group(number, None, &[])).collect());
        for (number, parent, references) in changes {
            let names: Vec<String> = references.iter().map(|number| format!("g{number}")).collect();
            let selector = (!names.is_empty()).then(|| json!({ "groups": names }));
            let asked = draft(&format!("g{number}"), parent, selector);
            let before = catalog.graph();
            if let Ok(saved) = decide_save(&catalog, &SaveAs::Existing(id(number), IfMatch::ANY), &asked, 5) {
                let generation = saved.generation;
                catalog = catalog.with(Changes { written: vec![saved], removed: Vec::new(), generation });
            } else {
                let mut refused = before;
                refused.put(id(number), Edges { parent: parent.map(id), references: references.iter().copied().map(id).collect() });
                prop_assert!(refused.cycle_through(id(number)).is_some());
            }
            let graph = catalog.graph();
            for node in 1..8 {
                prop_assert_eq!(graph.cycle_through(id(node)), None);
            }
        }
    }

    #[test]
    fn every_group_comes_after_what_it_depends_on(edges in any_edges(), root in 0_u128..12) {
        // Downwards only: without circles.
        let edges: Vec<(u128, u128)> = edges.into_iter().filter(|(from, to)| from < to).collect();
        let order = dependencies_first([id(root)], |at| {
            edges.iter().filter(|(from, _)| id(*from) == at).map(|(_, to)| id(*to)).collect()
        });
        let place = |node: u128| order.iter().position(|at| *at == id(node));
        prop_assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), order.len());
        for node in 0..12 {
            prop_assert_eq!(place(node).is_some(), node == root || reaches(&edges, root, node));
        }
        for (from, to) in &edges {
            if let (Some(from), Some(to)) = (place(*from), place(*to)) {
                prop_assert!(to < from);
            }
        }
    }
}
