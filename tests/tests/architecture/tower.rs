//! The tower: the server's parts in an order, and each names only what stands below it. `main` and `lib` at the top
//! name what they like; nothing names them.

use std::collections::BTreeSet;

use crate::{assert_none, edges, sources};

/// From the top down. Parts of one level know nothing of each other. `*/http` is the HTTP of a slice: its routes are
/// given the whole server, so it stands above the wiring, while the slice itself stands below. `agents` and `plans` are
/// above the wiring as a whole.
const TOWER: [&[&str]; 18] = [
    &["lib", "main"],
    &["run"],
    &["edge"],
    &["*/http", "agents", "plans"],
    &["app"],
    &["modules"],
    &["commands", "licensing"],
    &["secrets"],
    &["hosts"],
    &["events"],
    &["auth"],
    &["audit"],
    &["http"],
    &["db", "links", "loops"],
    &["clock"],
    &["telemetry"],
    &["config"],
    &["failpoints"],
];

/// `server/src/hosts/http.rs` → `hosts/http`, `server/src/hosts/store.rs` → `hosts`; `None` outside the server.
fn part_of(path: &str) -> Option<String> {
    let inside = path.strip_prefix("server/src/")?.strip_suffix(".rs")?;
    let mut words = inside.split('/');
    let first = words.next()?;
    let whole = ["http", "agents", "plans"].contains(&first);
    if !whole && words.next() == Some("http") {
        Some(format!("{first}/http"))
    } else {
        Some(first.to_owned())
    }
}

fn level_of(part: &str) -> Option<usize> {
    let name = if part.ends_with("/http") {
        "*/http"
    } else {
        part
    };
    TOWER.iter().position(|level| level.contains(&name))
}

#[test]
fn the_tower_stands() {
    let mut upward = Vec::new();
    let mut seen = 0;
    for edge in edges() {
        let (Some(from), Some(to)) = (part_of(&edge.from), part_of(&edge.to)) else {
            continue;
        };
        seen += 1;
        if from != to && level_of(&from) >= level_of(&to) {
            upward.push(format!("{edge}: `{from}` does not stand above `{to}`"));
        }
    }
    assert!(
        seen > 300,
        "only {seen} edges were found: the check is blind"
    );
    assert_none("a part that names what is not below it", &upward);
}

#[test]
fn every_part_of_the_server_has_its_place_in_the_tower() {
    let parts: BTreeSet<String> = sources()
        .iter()
        .filter_map(|file| part_of(&file.path))
        .collect();
    let missing: Vec<String> = parts
        .iter()
        .filter(|part| level_of(part).is_none())
        .cloned()
        .collect();
    assert_none("parts that the tower does not know", &missing);
    for name in TOWER.iter().flat_map(|level| level.iter()) {
        let known = *name == "*/http" || parts.contains(*name);
        assert!(known, "the tower names `{name}`, and there is no such part");
    }
}
