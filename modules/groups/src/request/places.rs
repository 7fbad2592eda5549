//! Where a selector as written names a group, so that an unknown one can be pointed at.

use fleetwright_selector::text::{Expression, parse_expression};
use fleetwright_selector::{DEPTH_MAX, Leaf};
use serde_json::Value;

/// Pointers (under `prefix`) and the names or ids there, in writing order.
pub fn group_places(selector: &Value, prefix: &str) -> Vec<(String, String)> {
    let mut places = Vec::new();
    if let Some(criteria) = selector.get("criteria") {
        in_list(criteria, &format!("{prefix}/criteria"), 0, &mut places);
    }
    if let Some(groups) = selector.get("groups") {
        add_values(groups, &format!("{prefix}/groups"), &mut places);
    }
    if let Some(Ok(Expression::Criteria(criteria))) = selector
        .get("expression")
        .and_then(Value::as_str)
        .map(parse_expression)
    {
        for criterion in &criteria {
            criterion.for_each_leaf(&mut |leaf| {
                if let Leaf::Group(test) = leaf {
                    let pointer = format!("{prefix}/expression");
                    let names = test.references().iter().cloned();
                    places.extend(names.map(|name| (pointer.clone(), name)));
                }
            });
        }
    }
    places
}

fn in_list(criteria: &Value, pointer: &str, depth: usize, places: &mut Vec<(String, String)>) {
    for (position, criterion) in criteria.as_array().into_iter().flatten().enumerate() {
        in_criterion(criterion, &format!("{pointer}/{position}"), depth, places);
    }
}

fn in_criterion(
    criterion: &Value,
    pointer: &str,
    depth: usize,
    places: &mut Vec<(String, String)>,
) {
    // A valid selector is not deeper, and only such a one is asked about.
    if depth > DEPTH_MAX {
        return;
    }
    if criterion.get("field").and_then(Value::as_str) == Some("group")
        && let Some(value) = criterion.get("value")
    {
        add_values(value, &format!("{pointer}/value"), places);
    }
    for key in ["all", "any"] {
        if let Some(parts) = criterion.get(key) {
            in_list(parts, &format!("{pointer}/{key}"), depth + 1, places);
        }
    }
    if let Some(part) = criterion.get("not") {
        in_criterion(part, &format!("{pointer}/not"), depth + 1, places);
    }
}

/// A name, or an array of them.
fn add_values(value: &Value, pointer: &str, places: &mut Vec<(String, String)>) {
    if let Some(name) = value.as_str() {
        places.push((pointer.to_owned(), name.to_owned()));
    }
    for (position, name) in value.as_array().into_iter().flatten().enumerate() {
        if let Some(name) = name.as_str() {
            places.push((format!("{pointer}/{position}"), name.to_owned()));
        }
    }
}
