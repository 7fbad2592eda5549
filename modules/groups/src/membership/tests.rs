//! Members are what their definition says, whatever is remembered.

use std::collections::BTreeSet;

use fleetwright_selector::{HostFields, Selector};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::catalog::Changes;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// Hosts 0 to 20; each is tagged with its remainder by 5.
fn indexed() -> Indexed {
    let mut indexed = Indexed::default();
    (0..20).for_each(|number| put(&mut indexed, number, number % 5));
    indexed
}

fn put(indexed: &mut Indexed, number: u128, tag: u128) {
    let mut host = HostFields::new(id(number));
    host.tags = vec![format!("t{tag}")];
    indexed.layout += u64::from(!indexed.index.contains(&host.id));
    indexed.index.upsert(&host);
    indexed.revision += 1;
}

/// Groups are numbered from 100. Each may have a parent, an explicit host, a tag it selects and a group it names; parents
/// and groups named have lower numbers, so there are no circles.
#[derive(Clone, Debug)]
struct Plan {
    parent: Option<u128>,
    host: Option<u128>,
    tag: Option<u128>,
    names: Option<u128>,
    negated: bool,
}

fn plan(number: u128, plan: &Plan) -> Group {
    let below = |wanted: Option<u128>| {
        wanted
            .filter(|_| number > 0)
            .map(|wanted| 100 + wanted % number)
    };
    let (parent, names) = (below(plan.parent), below(plan.names));
    // A child's selector may not name its parent, nor one above it.
    let names = names.filter(|_| parent.is_none());
    let mut parts: Vec<serde_json::Value> = Vec::new();
    parts.extend(
        plan.tag
            .map(|tag| json!({"field": "tags", "op": "in", "value": [format!("t{tag}")]})),
    );
    let group_op = if plan.negated { "not_in" } else { "in" };
    parts
        .extend(names.map(|named| json!({"field": "group", "op": group_op, "value": [id(named)]})));
    let selector = (!parts.is_empty())
        .then(|| Selector::parse(&json!({"criteria": [{"any": parts}]})).unwrap());
    Group {
        id: id(100 + number),
        name: format!("g{number}"),
        description: String::new(),
        parent_id: parent.map(id),
        explicit_host_ids: plan.host.into_iter().map(id).collect(),
        selector,
        created_at_us: 0,
        updated_at_us: 0,
        revision: 1,
        generation: 1,
    }
}

fn catalog(plans: &[Plan]) -> Catalog {
    let numbered = plans.iter().enumerate();
    let written = numbered.map(|(number, one)| plan(u128::try_from(number).unwrap(), one));
    let changes = Changes {
        written: written.collect(),
        removed: Vec::new(),
        generation: 1,
    };
    Catalog::default().with(changes)
}

/// The definition, word by word; only for groups without circles.
fn defined(indexed: &Indexed, catalog: &Catalog, at: Uuid, direct: bool) -> BTreeSet<Uuid> {
    let group = catalog.get(at).unwrap();
    let mut members: BTreeSet<Uuid> = group
        .explicit_host_ids
        .iter()
        .filter(|host| indexed.index.contains(host))
        .copied()
        .collect();
    if let Some(selector) = &group.selector {
        let lookups = Lookups {
            group_members: &|reference| {
                let named = catalog.resolve(reference)?;
                let members: Vec<Uuid> = defined(indexed, catalog, named, false)
                    .into_iter()
                    .collect();
                Some(Arc::new(indexed.index.slots_of(&members)))
            },
            last_seen_at_us: &|_| None,
        };
        members.extend(indexed.index.select(selector, &lookups).host_ids);
    }
    if !direct {
        for child in catalog.children(Some(at)) {
            members.extend(defined(indexed, catalog, child, false));
        }
    }
    members
}

fn ids(indexed: &Indexed, slots: &RoaringBitmap) -> BTreeSet<Uuid> {
    indexed.index.ids_of(slots).into_iter().collect()
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let some = |below: u128| prop::option::of(0..below);
    (some(50), some(24), some(5), some(50), any::<bool>()).prop_map(
        |(parent, host, tag, names, negated)| Plan {
            parent,
            host,
            tag,
            names,
            negated,
        },
    )
}

proptest! {
    #[test]
    fn members_are_as_defined_whatever_is_remembered(
        plans in prop::collection::vec(any_plan(), 1..12),
        changes in prop::collection::vec((0_u128..24, 0_u128..6), 0..6),
        asked in prop::collection::vec(0_u128..12, 1..6),
    ) {
        let catalog = catalog(&plans);
        let circles = catalog.graph();
        prop_assume!((0..12).all(|number| circles.cycle_through(id(100 + number)).is_none()));
        let mut indexed = indexed();
        let memory = Memory::default();
        for (number, tag) in changes.into_iter().map(Some).chain([None]).map(|change| change.unwrap_or((0, 0))) {
            for group in asked.iter().map(|number| id(100 + number)) {
                let membership = memory.members(&indexed, &catalog, &[group], None);
                let found = membership.of(group);
                prop_assert_eq!(found.is_some(), catalog.get(group).is_some());
                if let Some(found) = found {
                    prop_assert_eq!(ids(&indexed, &found.own), defined(&indexed, &catalog, group, true));
                    prop_assert_eq!(ids(&indexed, &found.effective), defined(&indexed, &catalog, group, false));
                }
            }
            // Tag 5 stands for a deletion.
            if tag == 5 {
                indexed.layout += u64::from(indexed.index.remove(&id(number)));
                indexed.revision += 1;
            } else {
                put(&mut indexed, number, tag);
            }
        }
    }
}

#[test]
fn members_are_remembered_until_the_inventory_or_the_groups_change() {
    let all = Plan {
        parent: None,
        host: Some(3),
        tag: Some(1),
        names: None,
        negated: false,
    };
    let catalog = catalog(std::slice::from_ref(&all));
    let mut indexed = indexed();
    let memory = Memory::default();
    let members = |indexed: &Indexed, catalog: &Catalog| {
        Arc::clone(
            &memory
                .members(indexed, catalog, &[id(100)], None)
                .of(id(100))
                .unwrap()
                .effective,
        )
    };
    let first = members(&indexed, &catalog);
    assert!(Arc::ptr_eq(&first, &members(&indexed, &catalog)));
    // A selection that names no group knows no catalogue, and takes nothing away.
    memory.members(&indexed, &Catalog::default(), &[], None);
    assert!(Arc::ptr_eq(&first, &members(&indexed, &catalog)));
    put(&mut indexed, 0, 1);
    let second = members(&indexed, &catalog);
    assert_eq!(second.len(), first.len() + 1);
    let mut changed = plan(
        0,
        &Plan {
            host: Some(4),
            ..all
        },
    );
    changed.generation = 2;
    let changes = Changes {
        written: vec![changed],
        removed: Vec::new(),
        generation: 2,
    };
    let third = members(&indexed, &catalog.with(changes));
    assert!(third.contains(4) && !third.contains(3), "{third:?}");
}

#[test]
fn times_last_seen_are_never_remembered() {
    let selector = json!({"expression": "last_seen_at exists"});
    let mut seen = plan(
        0,
        &Plan {
            parent: None,
            host: None,
            tag: None,
            names: None,
            negated: false,
        },
    );
    seen.selector = Some(Selector::parse(&selector).unwrap());
    let changes = Changes {
        written: vec![seen],
        removed: Vec::new(),
        generation: 1,
    };
    let catalog = Catalog::default().with(changes);
    assert!(groups_ask_last_seen(&catalog, &[id(100)]));
    let (indexed, memory) = (indexed(), Memory::default());
    for hosts in [1, 2, 3] {
        let last_seen: LastSeen = (0..hosts).map(|number| (id(number), 1)).collect();
        let membership = memory.members(&indexed, &catalog, &[id(100)], Some(&last_seen));
        assert_eq!(
            membership.of(id(100)).unwrap().effective.len(),
            u64::try_from(hosts).unwrap()
        );
    }
}
