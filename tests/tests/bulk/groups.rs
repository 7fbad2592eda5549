//! Groups through the real module: live membership over nested groups, and a graph that stays acyclic.

use fleetwright_tests::client::{number, text};
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::http::Answer;
use serde_json::{Value, json};

use super::{bulk_on, counters, enrolled};

fn create(fleet: &TestFleet, body: Value) -> String {
    text(&fleet.admin.post("/fleet/groups", &body).expect(201), "id")
}

fn update(fleet: &TestFleet, id: &str, body: Value) -> Answer {
    fleet.admin.put(&format!("/fleet/groups/{id}"), &body)
}

fn members(fleet: &TestFleet, id: &str) -> usize {
    fleet.admin.all(&format!("/fleet/groups/{id}/hosts")).len()
}

#[test]
fn a_group_has_the_hosts_of_its_descendants_and_those_that_just_came() {
    let fleet = Setup::pro().start();
    let top = create(&fleet, json!({"name": "top"}));
    let web = create(
        &fleet,
        json!({"name": "web", "parent_id": top, "selector": {"tags": ["web"]}}),
    );
    assert_eq!(members(&fleet, &top), 0);
    let (crowd, identities) = enrolled(&fleet, "web", 3);
    assert_eq!((members(&fleet, &top), members(&fleet, &web)), (3, 3));
    let direct = fleet
        .admin
        .all(&format!("/fleet/groups/{top}/hosts?direct=true"));
    assert!(direct.is_empty(), "{direct:?}");
    let by_group = fleet
        .admin
        .post("/fleet/select", &json!({"groups": ["top"]}))
        .expect(200);
    assert_eq!(number(&by_group, "count"), 3);
    let gone = identities[0].host_id;
    fleet
        .admin
        .patch(&format!("/hosts/{gone}"), &json!({"tags": []}))
        .expect(200);
    assert_eq!(members(&fleet, &top), 2);
    drop(crowd);
}

#[test]
fn no_change_can_close_a_cycle_not_even_two_at_once() {
    let fleet = Setup::pro().start();
    let first = create(&fleet, json!({"name": "first"}));
    let second = create(&fleet, json!({"name": "second", "parent_id": first}));
    let itself = update(&fleet, &first, json!({"name": "first", "parent_id": first}));
    assert_eq!(
        (itself.status, itself.code().as_str()),
        (422, "group-cycle"),
        "{}",
        itself.text()
    );
    let through_parents = update(
        &fleet,
        &first,
        json!({"name": "first", "parent_id": second}),
    );
    assert_eq!(
        (through_parents.status, through_parents.code().as_str()),
        (422, "group-cycle")
    );
    let through_selectors = update(
        &fleet,
        &second,
        json!({"name": "second", "parent_id": first, "selector": {"groups": ["first"]}}),
    );
    assert_eq!(
        through_selectors.status,
        422,
        "{}",
        through_selectors.text()
    );
    // Each edge alone is fine; together they close a cycle, so at most one may pass.
    for turn in 0..10 {
        let left = create(&fleet, json!({"name": format!("left {turn}")}));
        let right = create(&fleet, json!({"name": format!("right {turn}")}));
        let (one, other) = std::thread::scope(|scope| {
            let one = scope.spawn(|| {
                update(
                    &fleet,
                    &left,
                    json!({"name": format!("left {turn}"), "parent_id": right}),
                )
            });
            let other = scope.spawn(|| {
                update(
                    &fleet,
                    &right,
                    json!({"name": format!("right {turn}"), "parent_id": left}),
                )
            });
            (one.join().unwrap(), other.join().unwrap())
        });
        let passed = [&one, &other]
            .iter()
            .filter(|answer| answer.status == 200)
            .count();
        assert_eq!(passed, 1, "{} {}", one.text(), other.text());
    }
}

#[test]
fn names_are_unique_and_lost_races_are_told() {
    let fleet = Setup::pro().start();
    let id = create(&fleet, json!({"name": "one"}));
    let twice = fleet.admin.post("/fleet/groups", &json!({"name": "one"}));
    assert_eq!(
        (twice.status, twice.code().as_str()),
        (409, "name-taken"),
        "{}",
        twice.text()
    );
    for name in ["", &"x".repeat(10_000), "a\u{7}b"] {
        let answer = fleet.admin.post("/fleet/groups", &json!({"name": name}));
        assert_eq!(answer.status, 422, "{}", answer.text());
    }
    let path = format!("/fleet/groups/{id}");
    let tag = fleet.admin.get(&path).header("etag").unwrap().to_owned();
    let put = |description: &str| {
        let request = fleet.admin.request("PUT", &path).header("if-match", &tag);
        fleet
            .admin
            .send(&request.json(&json!({"name": "one", "description": description})))
    };
    assert_eq!(put("first").status, 200);
    assert_eq!(put("second").status, 412);
    assert_eq!(fleet.admin.get(&path).expect(200)["description"], "first");
}

#[test]
fn a_group_in_use_stays_and_a_deleted_one_leaves_its_children_to_its_parent() {
    let fleet = Setup::pro().start();
    let top = create(&fleet, json!({"name": "top"}));
    let middle = create(&fleet, json!({"name": "middle", "parent_id": top}));
    let low = create(&fleet, json!({"name": "low", "parent_id": middle}));
    let user = create(
        &fleet,
        json!({"name": "user", "selector": {"groups": ["middle"]}}),
    );
    let refused = fleet.admin.delete(&format!("/fleet/groups/{middle}"));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (409, "group-in-use"),
        "{}",
        refused.text()
    );
    assert_eq!(
        fleet.admin.delete(&format!("/fleet/groups/{user}")).status,
        204
    );
    assert_eq!(
        fleet
            .admin
            .delete(&format!("/fleet/groups/{middle}"))
            .status,
        204
    );
    let low = fleet.admin.get(&format!("/fleet/groups/{low}")).expect(200);
    assert_eq!(text(&low, "parent_id"), top);
}

#[test]
fn a_bulk_operation_on_a_group_freezes_who_is_in_it_now() {
    let fleet = Setup::pro().start();
    let (mut crowd, identities) = enrolled(&fleet, "web", 2);
    let id = create(
        &fleet,
        json!({"name": "webs", "selector": {"tags": ["web"]}}),
    );
    let mut body = bulk_on("unused", json!({}));
    body["selector"] = json!({"groups": [id]});
    let bulk = fleet.admin.bulk(&body);
    enrolled(&fleet, "web", 1);
    crowd.connect(
        &identities,
        fleetwright_tests::load::agent::Behaviour::Succeed(std::time::Duration::ZERO),
    );
    assert_eq!(counters(&fleet.admin.wait_bulk(&bulk)), [2, 0, 0, 0, 0]);
}
