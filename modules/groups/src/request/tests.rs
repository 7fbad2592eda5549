//! What is read from a body, and where a selector names groups. The faults of bodies are in the tests of the routes.

use serde_json::json;

use super::*;

#[test]
fn groups_are_found_wherever_a_selector_names_them() {
    let selector = json!({
        "groups": ["a", "b"],
        "tags": ["group"],
        "criteria": [
            {"field": "group", "op": "equals", "value": "c"},
            {"any": [
                {"field": "tags", "op": "in", "value": ["x"]},
                {"not": {"all": [{"field": "group", "op": "in", "value": ["d", "a"]}]}},
            ]},
        ],
        "expression": "group = e or not group in (f, a)",
    });
    let found = group_places(&selector, "/s");
    let expected = [
        ("/s/criteria/0/value", "c"),
        ("/s/criteria/1/any/1/not/all/0/value/0", "d"),
        ("/s/criteria/1/any/1/not/all/0/value/1", "a"),
        ("/s/groups/0", "a"),
        ("/s/groups/1", "b"),
        ("/s/expression", "e"),
        ("/s/expression", "f"),
        ("/s/expression", "a"),
    ];
    let expected = expected.map(|(pointer, name)| (pointer.to_owned(), name.to_owned()));
    assert_eq!(found, expected);
}

#[test]
fn what_is_left_out_or_null_is_empty() {
    let expected = Draft {
        name: "a".to_owned(),
        description: String::new(),
        parent_id: None,
        explicit_host_ids: Vec::new(),
        selector: None,
        references: Vec::new(),
    };
    let nulls = json!({"id": null, "name": "a", "description": null, "parent_id": null, "explicit_host_ids": null, "selector": null});
    assert_eq!(group(json!({"name": "a"})), Ok((None, expected.clone())));
    assert_eq!(group(nulls), Ok((None, expected)));
}

#[test]
fn too_many_host_ids_are_refused_and_as_many_as_allowed_read() {
    let ids = |count: usize| vec!["00000000-0000-0000-0000-000000000001"; count];
    let body = |count| json!({"name": "a", "explicit_host_ids": ids(count)});
    let (_, draft) = group(body(EXPLICIT_HOST_IDS_MAX)).unwrap();
    assert_eq!(draft.explicit_host_ids.len(), 1);
    let Err(BodyFault::Invalid(problem)) = group(body(EXPLICIT_HOST_IDS_MAX + 1)) else {
        panic!("100,001 ids were accepted");
    };
    assert_eq!(problem.errors()[0].pointer, "/explicit_host_ids");
}

#[test]
fn every_bad_id_is_found() {
    let body = json!({"name": "a", "explicit_host_ids": vec!["x"; 1_000]});
    let Err(BodyFault::Invalid(problem)) = group(body) else {
        panic!("bad ids were accepted");
    };
    let found = problem.errors().len() + problem.errors_omitted();
    assert_eq!(found, 1_000);
}
