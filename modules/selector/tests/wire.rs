//! The wire form, as a client meets it.

use fleetwright_selector::{HostFields, Index, Lookups, Selector, ValidSelector, code};
use serde_json::{Value as Json, json};
use uuid::Uuid;

fn violations(selector: &Json) -> Vec<(String, &'static str)> {
    match Selector::parse(selector) {
        Ok(_) => Vec::new(),
        Err(violations) => violations
            .into_iter()
            .map(|violation| (violation.pointer, violation.code))
            .collect(),
    }
}

fn canonical(selector: &Json) -> Json {
    Selector::parse(selector)
        .unwrap_or_else(|violations| panic!("{selector}: {violations:?}"))
        .to_json()
}

fn leaf() -> Json {
    json!({"field": "tags", "op": "contains", "value": "web"})
}

fn nested(times: usize) -> Json {
    (0..times).fold(leaf(), |criterion, _| json!({"not": criterion}))
}

#[test]
fn shortcuts_compile_into_criteria() {
    let selector = json!({
        "criteria": [{"field": "platform_release", "op": "equals", "value": "ubuntu"}],
        "platforms": ["linux"], "tags": ["webserver", "db"], "all_tags": ["a", "b"], "groups": ["canary"], "approval_status": "Approved",
    });
    let expected = json!({"criteria": [
        {"field": "platform_release", "op": "equals", "value": "ubuntu"},
        {"field": "platform", "op": "in", "value": ["linux"]},
        {"field": "tags", "op": "in", "value": ["webserver", "db"]},
        {"field": "tags", "op": "contains", "value": "a"},
        {"field": "tags", "op": "contains", "value": "b"},
        {"field": "group", "op": "in", "value": ["canary"]},
        {"field": "approval_status", "op": "equals", "value": "approved"},
    ]});
    assert_eq!(canonical(&selector), expected);
}

#[test]
fn an_expression_is_joined_with_what_else_is_there() {
    let expected =
        json!({"criteria": [{"field": "platform", "op": "in", "value": ["linux"]}, leaf()]});
    assert_eq!(
        canonical(&json!({"platforms": ["linux"], "expression": "tags contains web"})),
        expected
    );
    assert_eq!(
        canonical(&json!({"expression": "all"})),
        json!({"all_hosts": true})
    );
}

#[test]
fn all_hosts_is_said_alone_and_explicitly() {
    assert_eq!(
        canonical(&json!({"all_hosts": true})),
        json!({"all_hosts": true})
    );
    assert_eq!(
        canonical(&json!({"all_hosts": false, "criteria": [leaf()]})),
        json!({"criteria": [leaf()]})
    );
    let conflict = |key: &str| vec![(format!("/{key}"), code::CONFLICT)];
    assert_eq!(
        violations(&json!({"all_hosts": true, "tags": ["web"]})),
        conflict("tags")
    );
    assert_eq!(
        violations(&json!({"all_hosts": true, "explicit_host_ids": []})),
        conflict("explicit_host_ids")
    );
    assert_eq!(
        violations(&json!({"expression": "all", "tags": ["web"]})),
        conflict("expression")
    );
    assert_eq!(
        violations(&json!({"all_hosts": 1})),
        [("/all_hosts".to_owned(), code::VALUE_INVALID)]
    );
}

#[test]
fn selecting_nothing_by_saying_nothing_is_refused() {
    for selector in [
        json!({}),
        json!({"criteria": []}),
        json!({"explicit_host_ids": [], "criteria": []}),
        json!({"all_hosts": false}),
    ] {
        assert_eq!(
            violations(&selector),
            [(String::new(), code::EMPTY)],
            "{selector}"
        );
    }
    for key in ["platforms", "tags", "all_tags", "groups"] {
        let empty = vec![(format!("/{key}"), code::EMPTY)];
        assert_eq!(violations(&json!({key: []})), empty);
        assert_eq!(violations(&json!({key: [], "criteria": [leaf()]})), empty);
        let null = vec![(format!("/{key}"), code::VALUE_INVALID)];
        assert_eq!(violations(&json!({key: null, "criteria": [leaf()]})), null);
        assert_eq!(
            violations(&json!({key: [""]})),
            [(format!("/{key}/0"), code::VALUE_INVALID)]
        );
    }
    assert_eq!(
        violations(&json!({"criteria": [{"all": []}]})),
        [("/criteria/0/all".to_owned(), code::EMPTY)]
    );
    assert_eq!(
        violations(&json!({"expression": " "})),
        [("/expression".to_owned(), code::EMPTY)]
    );
}

#[test]
fn every_violation_is_reported_with_its_place() {
    let selector = json!({
        "batchsize": 1, "a/b": 1, "platforms": "linux", "tags": ["a\u{0}", 1],
        "explicit_host_ids": ["web", "01900000000070008000000000000001"],
        "criteria": [
            {"field": "colour", "op": "like", "value": 1},
            {"any": [leaf(), {"field": "platform", "op": "in", "value": "linux"}]},
            {"all": [leaf()], "not": leaf()},
            {"field": "tags", "op": "contains", "value": "a", "negate": true},
            {"field": "cpu_count"},
            7,
        ],
        "expression": "platform = ",
    });
    let mut expected = vec![
        ("/batchsize", code::UNKNOWN_FIELD),
        ("/a~1b", code::UNKNOWN_FIELD),
        ("/platforms", code::VALUE_INVALID),
        ("/tags/0", code::TEXT_INVALID),
        ("/tags/1", code::VALUE_INVALID),
        ("/explicit_host_ids/0", code::VALUE_INVALID),
        ("/explicit_host_ids/1", code::VALUE_INVALID),
        ("/criteria/0/field", code::FIELD_UNKNOWN),
        ("/criteria/0/op", code::OP_UNKNOWN),
        ("/criteria/1/any/1/value", code::VALUE_INVALID),
        ("/criteria/2", code::CRITERION_INVALID),
        ("/criteria/3/negate", code::UNKNOWN_FIELD),
        ("/criteria/4", code::CRITERION_INVALID),
        ("/criteria/5", code::CRITERION_INVALID),
        ("/expression", code::EXPRESSION_INVALID),
    ];
    let mut found = violations(&selector);
    expected.sort_unstable();
    found.sort_unstable();
    let found: Vec<_> = found
        .iter()
        .map(|(pointer, code)| (pointer.as_str(), *code))
        .collect();
    assert_eq!(found, expected);
    let refused =
        Selector::parse(&json!({"expression": "colour = red"})).expect_err("no such field");
    assert_eq!(refused[0].code, code::FIELD_UNKNOWN);
    assert!(
        refused[0].detail.starts_with("column 1: "),
        "{}",
        refused[0].detail
    );
}

#[test]
fn what_is_no_object_is_refused() {
    for selector in [json!(null), json!([]), json!("all"), json!(true)] {
        assert_eq!(
            violations(&selector),
            [(String::new(), code::VALUE_INVALID)]
        );
    }
}

#[test]
fn the_limits_hold_exactly() {
    assert_eq!(violations(&json!({"criteria": [nested(15)]})), []);
    assert_eq!(
        violations(&json!({"criteria": [nested(16)]}))
            .pop()
            .map(|(_, code)| code),
        Some(code::DEPTH)
    );
    assert_eq!(violations(&json!({"criteria": [nested(100)]})).len(), 1);

    let leaves = |count: usize| json!({"criteria": [{"any": vec![leaf(); count]}]});
    assert_eq!(violations(&leaves(1_000)), []);
    assert_eq!(
        violations(&leaves(1_001)),
        [("/criteria/0/any/1000".to_owned(), code::LEAVES)]
    );
    let spread = json!({"criteria": vec![leaf(); 999], "all_tags": ["a", "b"]});
    assert_eq!(
        violations(&spread),
        [("/all_tags".to_owned(), code::LEAVES)]
    );

    let ids = |count: u128| json!({"explicit_host_ids": (0..count).map(Uuid::from_u128).collect::<Vec<_>>()});
    assert_eq!(violations(&ids(100_000)), []);
    assert_eq!(
        violations(&ids(100_001)),
        [("/explicit_host_ids".to_owned(), code::IDS_TOO_MANY)]
    );
}

#[test]
fn a_selector_over_64_kib_is_too_large_and_its_ids_do_not_count() {
    let of_size = |bytes: usize| json!({"tags": ["a".repeat(bytes - "\"tags\":[\"\"],".len())]});
    assert_eq!(violations(&of_size(64 * 1024)), []);
    assert_eq!(
        violations(&of_size(64 * 1024 + 1)),
        [(String::new(), code::TOO_LARGE)]
    );
    assert_eq!(
        violations(&json!({"expression": format!("tags = {}", "a".repeat(70_000))})),
        [(String::new(), code::TOO_LARGE)]
    );
}

#[test]
fn a_short_selector_whose_canonical_form_is_long_can_still_be_stored() {
    let tags: Vec<String> = (0..1_000).map(|number| format!("{number:050}")).collect();
    let selector = Selector::parse(&json!({"all_tags": tags})).expect("under the limit");
    assert_eq!(
        violations(&selector.to_json()),
        [(String::new(), code::TOO_LARGE)]
    );
    assert_eq!(Selector::parse_stored(&selector.to_json()), Ok(selector));
}

#[test]
fn many_bad_ids_are_not_answered_with_as_many_violations() {
    assert_eq!(
        violations(&json!({"explicit_host_ids": vec!["x"; 50_000]})).len(),
        100
    );
}

#[test]
fn the_typed_form_refuses_what_it_does_not_know() {
    assert!(serde_json::from_value::<Selector>(json!({"tagz": ["a"]})).is_err());
    let selector = Selector {
        tags: Some(vec!["web".to_owned()]),
        ..Selector::default()
    };
    assert_eq!(
        selector.validate().map(|valid| valid.to_json()),
        Ok(canonical(&json!({"tags": ["web"]})))
    );
    assert!(Selector::default().validate().is_err());
}

#[test]
fn group_names_are_replaced_by_ids_wherever_they_are() {
    let (canary, edge) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let selector = Selector::parse(
        &json!({"groups": ["canary"], "expression": "not (group = edge or group != canary)"}),
    )
    .expect("valid");
    assert_eq!(selector.group_references(), ["canary", "edge"]);
    let id_of = |name: &str| match name {
        "canary" => Some(canary),
        "edge" => Some(edge),
        _ => None,
    };
    let resolved = selector.with_group_ids(id_of).expect("both exist");
    assert_eq!(
        resolved.group_references(),
        [canary.to_string(), edge.to_string()]
    );
    let unknown = selector
        .with_group_ids(|name| (name == "edge").then_some(edge))
        .expect_err("no canary");
    assert_eq!(unknown.names, ["canary"]);
}

#[test]
fn a_group_named_in_several_ways_is_stored_once() {
    let canary = Uuid::from_u128(1);
    let selector =
        Selector::parse(&json!({"groups": ["canary", "CANARY", canary]})).expect("valid");
    let resolved = selector
        .with_group_ids(|_| Some(canary))
        .expect("one group");
    let criteria = json!([{"field": "group", "op": "in", "value": [canary]}]);
    assert_eq!(resolved.to_json(), json!({"criteria": criteria}));
}

#[test]
fn lack_of_data_never_matches() {
    let mut index = Index::new();
    let bare = HostFields::new(Uuid::from_u128(1));
    index.upsert(&bare);
    let count = |expression: &str| {
        let selector = Selector::parse(&json!({"expression": expression})).expect("valid");
        index.select(&selector, &Lookups::none()).count
    };
    for expression in [
        "fqdn = a",
        "fqdn != a",
        "not fqdn = a",
        "fqdn not in (a)",
        "not fqdn ~ a",
        "cpu_count != 1",
        "not reserved = true",
        "attributes.rack != a",
        "last_seen_at < 2026-01-01T00:00:00Z",
        "group = gone",
        "group != gone",
        "not group in (gone)",
        "platform_version version_lt 1",
    ] {
        assert_eq!(count(expression), 0, "{expression}");
    }
    for expression in [
        "tags not in (a)",
        "not tags = a",
        "not fqdn exists",
        "fqdn not exists",
        "id exists",
        "fqdn = a or tags != a",
        "all",
    ] {
        assert_eq!(count(expression), 1, "{expression}");
    }
}

#[test]
fn explicit_hosts_are_added_and_those_that_are_none_are_listed() {
    let mut index = Index::new();
    for number in 1..=3 {
        index.upsert(&HostFields {
            tags: vec![format!("t{number}")],
            ..HostFields::new(Uuid::from_u128(number))
        });
    }
    let id = Uuid::from_u128;
    let selector = Selector::parse(
        &json!({"explicit_host_ids": [id(9), id(3), id(3), id(8)], "tags": ["T1"]}),
    )
    .expect("valid");
    assert_eq!(selector.explicit_host_ids(), [id(3), id(8), id(9)]);
    let selection = index.select(&selector, &Lookups::none());
    assert_eq!(selection.host_ids, [id(1), id(3)]);
    assert_eq!(selection.unknown_host_ids, [id(8), id(9)]);
    assert_eq!(selection.count, 2);
    assert_eq!(
        index
            .select(&ValidSelector::of_hosts(vec![id(2)]), &Lookups::none())
            .host_ids,
        [id(2)]
    );
    let all = index.select(&ValidSelector::all_hosts(), &Lookups::none());
    assert_eq!(all.count, 3);
}

#[test]
fn a_removed_hosts_slot_serves_another_without_a_trace() {
    let mut index = Index::new();
    for number in 0..100 {
        let host = HostFields {
            fqdn: Some(format!("h{number}")),
            tags: vec![format!("t{number}")],
            ..HostFields::new(Uuid::from_u128(number))
        };
        index.upsert(&host);
        assert!(index.remove(&host.id) && !index.remove(&host.id));
    }
    index.upsert(&HostFields::new(Uuid::from_u128(1000)));
    assert_eq!(index.live().iter().collect::<Vec<_>>(), [0]);
    let selector =
        Selector::parse(&json!({"expression": "fqdn exists or tags exists"})).expect("valid");
    assert_eq!(index.select(&selector, &Lookups::none()).count, 0);
}
