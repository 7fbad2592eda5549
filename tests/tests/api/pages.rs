//! Lists: whole, without duplicates, stable while they grow, and only with cursors the server made.

use std::collections::BTreeSet;

use fleetwright_tests::client::text;
use serde_json::json;

use super::{assert_problem, community};

#[test]
fn pages_join_up_without_gaps_or_doubles_while_the_list_grows() {
    let fleet = community();
    let admin = &fleet.admin;
    let before: BTreeSet<String> = (0..23)
        .map(|number| {
            let body = json!({"name": format!("t{number}"), "role": "viewer"});
            text(&admin.post("/tokens", &body).expect(201), "id")
        })
        .collect();
    let mut seen = Vec::new();
    let mut path = "/tokens?limit=5".to_owned();
    loop {
        let page = admin.get(&path).expect(200);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 5);
        seen.extend(items.iter().map(|item| text(item, "id")));
        let body = json!({"name": "late", "role": "viewer"});
        admin.post("/tokens", &body).expect(201);
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/tokens?limit=5&cursor={next}");
        assert!(seen.len() < 200, "the list never ends");
    }
    let unique: BTreeSet<String> = seen.iter().cloned().collect();
    assert_eq!(unique.len(), seen.len(), "a double");
    assert!(before.is_subset(&unique), "a gap");
}

#[test]
fn a_forged_cursor_is_malformed() {
    let fleet = community();
    let admin = &fleet.admin;
    for number in 0..3 {
        let body = json!({"name": format!("t{number}"), "role": "viewer"});
        admin.post("/tokens", &body).expect(201);
    }
    let page = admin.get("/tokens?limit=1").expect(200);
    let real = text(&page, "next_cursor");
    let mut flipped = real.clone().into_bytes();
    let middle = flipped.len() / 2;
    flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    for (what, path) in [
        ("nonsense", "/tokens?cursor=nonsense".to_owned()),
        ("empty", "/tokens?cursor=".to_owned()),
        ("one character changed", format!("/tokens?cursor={flipped}")),
        (
            "another list's",
            format!("/enrollment-tokens?cursor={real}"),
        ),
        (
            "cut off",
            format!("/tokens?cursor={}", &real[..real.len() - 2]),
        ),
    ] {
        assert_problem(&admin.get(&path), 400, "malformed", what);
    }
    assert_eq!(
        admin.get(&format!("/tokens?limit=1&cursor={real}")).status,
        200
    );
}
