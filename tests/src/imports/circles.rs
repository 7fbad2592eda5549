//! Circles among edges: groups of files each of which leads to every other.

use std::collections::{BTreeMap, BTreeSet};

use super::edge::Edge;

/// Files that need each other, and the edges between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circle {
    pub files: BTreeSet<String>,
    pub edges: Vec<Edge>,
}

impl std::fmt::Display for Circle {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "a circle of {} files", self.files.len())?;
        self.edges
            .iter()
            .try_for_each(|edge| write!(out, "\n    {edge}"))
    }
}

/// The largest first.
pub fn circles(edges: &[Edge]) -> Vec<Circle> {
    let mut after: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut before: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for edge in edges {
        after.entry(&edge.from).or_default().insert(&edge.to);
        before.entry(&edge.to).or_default().insert(&edge.from);
    }
    let mut left: BTreeSet<&str> = after.keys().copied().collect();
    let mut found = Vec::new();
    while let Some(file) = left.pop_first() {
        // Whatever it reaches and that reaches it.
        let ahead = reached(file, &after);
        let files: BTreeSet<String> = reached(file, &before)
            .intersection(&ahead)
            .map(|file| (*file).to_owned())
            .collect();
        left.retain(|file| !files.contains(*file));
        if files.len() > 1 {
            let inner = edges
                .iter()
                .filter(|edge| files.contains(&edge.from) && files.contains(&edge.to));
            let edges = inner.cloned().collect();
            found.push(Circle { files, edges });
        }
    }
    found.sort_by_key(|circle| std::cmp::Reverse(circle.files.len()));
    found
}

fn reached<'a>(from: &'a str, ways: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::from([from]);
    let mut waiting = vec![from];
    while let Some(file) = waiting.pop() {
        for next in ways.get(file).into_iter().flatten() {
            if seen.insert(next) {
                waiting.push(next);
            }
        }
    }
    seen
}
